use std::sync::mpsc;

use super::*;

const LONG: Duration = Duration::from_secs(60);

fn never<T>(_: T) {
    panic!("there is nothing to undo");
}

#[tokio::test]
async fn results_come_back() {
    let calls = Calls::new(2, LONG);
    assert_eq!(calls.run(|| 7, never).await, Ok(7));
}

#[tokio::test]
async fn a_late_result_is_undone_and_slots_are_bounded() {
    let calls = Calls::new(1, Duration::from_millis(50));
    let (release, wait) = mpsc::channel::<()>();
    let (undone, seen) = mpsc::channel();
    let hang = move || {
        wait.recv().unwrap();
        7
    };
    assert_eq!(calls.run(hang, move |value| undone.send(value).unwrap()).await, Err(NoResult::Late));
    assert_eq!(calls.run(|| 8, never).await, Err(NoResult::Busy), "the hanging call keeps its slot");
    release.send(()).unwrap();
    assert_eq!(seen.recv_timeout(LONG), Ok(7));
    // The slot is free again as soon as the thread has ended.
    let patient = Calls { timeout: LONG, ..calls };
    assert_eq!(patient.run(|| 9, never).await, Ok(9));
}

#[tokio::test]
async fn a_panic_is_no_hang() {
    let calls = Calls::new(1, LONG);
    assert_eq!(calls.run(|| panic!("on purpose"), never::<()>).await, Err(NoResult::Lost));
    assert_eq!(calls.run(|| 1, never).await, Ok(1));
}
