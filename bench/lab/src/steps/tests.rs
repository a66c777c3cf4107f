use std::cell::Cell;

use anyhow::bail;

use super::*;

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn what_is_there_in_the_end_is_returned() {
    let looks = Cell::new(0);
    let found = wait_for("it", LONG, || async {
        looks.set(looks.get() + 1);
        if looks.get() < 4 {
            bail!("not yet");
        }
        Ok(looks.get())
    });
    assert_eq!(found.await.expect("found"), 4);
}

#[tokio::test]
async fn a_time_out_tells_what_was_missing_last() {
    let error = wait_for("it", Duration::ZERO, || async { Err::<(), _>(anyhow!("no trace of it")) }).await;
    assert_eq!(format!("{:#}", error.expect_err("time-out")), "it: not within 0 s: no trace of it");
}

#[tokio::test]
async fn a_hopeless_error_is_not_waited_for() {
    let looks = Cell::new(0);
    let error = wait_for("it", LONG, || async {
        looks.set(looks.get() + 1);
        Err::<(), _>(Hopeless("it is dead".to_owned()).into())
    });
    assert_eq!(format!("{:#}", error.await.expect_err("hopeless")), "it: it is dead");
    assert_eq!(looks.get(), 1);
}
