use std::path::Path;

use super::*;
use crate::net::mac::MacAddr;

const SPEC: FilterSpec = FilterSpec {
    vip: std::net::Ipv4Addr::new(10, 77, 0, 100),
    except_from: Some(MacAddr::new([2, 0, 0, 0, 0, 0xb])),
};

#[test]
fn the_table_is_replaced_as_a_whole_and_spares_the_former_owner() {
    let with = script(&SPEC);
    let head: Vec<_> = with.lines().take(3).collect();
    assert_eq!(
        head,
        ["table ip phalanx_vip", "delete table ip phalanx_vip", "table ip phalanx_vip {"],
        "one transaction, whatever was there"
    );
    let position = |part: &str| with.find(part).unwrap_or_else(|| panic!("{part:?} in {with}"));
    let order = [
        "ip daddr != 10.77.0.100 return",
        "ether saddr 02:00:00:00:00:0b return",
        "tcp flags & (syn | ack) == syn return",
        "tcp flags & (fin | rst) != 0 ct state invalid meta mark set 0x50",
        "ct state new ct mark set 0x50",
        "ct mark 0x50 meta mark set 0x50",
    ];
    assert!(order.map(position).is_sorted(), "{with}");

    let without = script(&FilterSpec { except_from: None, ..SPEC });
    assert!(!without.contains("ether"), "{without}");
}

#[test]
fn the_first_line_of_a_complaint_is_the_reason() {
    use std::os::unix::process::ExitStatusExt;
    let output = |status, stderr: &str| Output {
        status: std::process::ExitStatus::from_raw(status),
        stdout: Vec::new(),
        stderr: stderr.into(),
    };
    assert!(check(&output(0, "a warning")).is_ok());
    let refused = check(&output(256, "Error: Operation not permitted\nand more\n")).unwrap_err();
    assert_eq!(refused.to_string(), "nft: Error: Operation not permitted");
    assert_eq!(check(&output(256, "")).unwrap_err().to_string(), "nft: without a word");
}

/// A program in `nft`'s place.
struct Fake(tempfile::TempDir);

impl Fake {
    fn new(behaviour: &str) -> Self {
        let fake = Self(tempfile::tempdir().unwrap());
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake-nft");
        std::os::unix::fs::symlink(program, fake.path("nft")).unwrap();
        fake.behave(behaviour);
        fake
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn behave(&self, behaviour: &str) {
        std::fs::write(self.path("new"), behaviour).unwrap();
        std::fs::rename(self.path("new"), self.path("behaviour")).unwrap();
    }

    fn calls(&self) -> String {
        std::fs::read_to_string(self.path("calls")).unwrap_or_default()
    }

    async fn open(&self) -> Nft {
        Nft::open(self.path("nft"), true).await
    }
}

const NONE: &str = "echo 'Error: No such file or directory' >&2; exit 1";
const BROKEN: &str = "echo 'Error: cache initialization failed' >&2; exit 1";
const GOOD: &str = "cat >/dev/null";
const HANGS: &str = r#"echo $$ >"$here/pid"; exec sleep 600"#;

fn install(nft: &Nft) -> Order {
    nft.order(&Change::InstallFilter(SPEC)).unwrap()
}

async fn until<T>(what: impl Fn() -> Option<T>) -> T {
    loop {
        match what() {
            Some(value) => return value,
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

#[tokio::test]
async fn an_nft_that_fails_at_the_start_is_no_error() {
    let fake = Fake::new(BROKEN);
    assert_eq!(fake.open().await.remembered(), Filter::Unknown, "there may be a table");
    assert_eq!(Nft::open(fake.path("nft"), false).await.remembered(), Filter::Absent, "nobody uses one");
    assert_eq!(Nft::open(fake.path("none"), true).await.remembered(), Filter::Absent);
    fake.behave("echo table");
    assert_eq!(Nft::open(fake.path("nft"), false).await.remembered(), Filter::Unknown);
}

#[tokio::test]
async fn what_nft_refuses_is_known_until_it_takes_it() {
    let fake = Fake::new(NONE);
    let nft = fake.open().await;
    fake.behave(BROKEN);
    let error = nft.carry_out(install(&nft), PATIENCE).await.unwrap_err();
    assert_eq!(error.to_string(), "nft: Error: cache initialization failed");
    assert_eq!(nft.refused(&SPEC), Some(error.to_string()));
    assert_eq!(nft.refused(&FilterSpec { except_from: None, ..SPEC }), None);
    assert_eq!(nft.remembered(), Filter::Unknown);
    assert!(nft.look().await.is_err());
    assert_eq!(nft.refused(&SPEC), Some(error.to_string()), "a failed look changes nothing");
    fake.behave(GOOD);
    assert!(nft.carry_out(install(&nft), PATIENCE).await.unwrap());
    assert_eq!((nft.refused(&SPEC), nft.remembered()), (None, Filter::Is(SPEC)));
}

#[tokio::test]
async fn an_nft_that_hangs_is_given_up_and_killed() {
    let fake = Fake::new(NONE);
    let nft = fake.open().await;
    fake.behave(HANGS);
    let order = install(&nft);
    let (pid, error) = tokio::join!(
        until(|| std::fs::read_to_string(fake.path("pid")).ok()?.trim().parse::<u32>().ok()),
        nft.carry_out(order, PATIENCE)
    );
    let error = error.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    assert!(nft.refused(&SPEC).is_some());
    until(|| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        let lives = stat.is_ok_and(|stat| !stat.contains(") Z "));
        (!lives).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_last_order_wins() {
    let fake = Fake::new(NONE);
    let nft = fake.open().await;
    fake.behave(r#"cat >>"$here/script""#);
    let old = nft.order(&Change::RemoveFilter).unwrap();
    let new = install(&nft);
    assert_eq!(nft.remembered(), Filter::Unknown);
    assert!(nft.carry_out(new, PATIENCE).await.unwrap());
    assert!(!nft.carry_out(old, PATIENCE).await.unwrap(), "it came too late");
    assert_eq!(std::fs::read_to_string(fake.path("script")).unwrap(), script(&SPEC));
    assert_eq!(nft.remembered(), Filter::Is(SPEC));
    assert!(nft.order(&Change::CreateBridge).is_none());
}

#[tokio::test]
async fn a_look_that_an_order_overtakes_says_nothing() {
    let fake = Fake::new(GOOD);
    let nft = fake.open().await;
    assert!(nft.carry_out(install(&nft), PATIENCE).await.unwrap());
    // The listing is taken before the order and arrives after it.
    fake.behave(r#"case $* in -f*) cat >/dev/null;; *) until [ -e "$here/go" ]; do sleep 0.01; done;; esac; echo old"#);
    let before = fake.calls();
    let overtake = async {
        until(|| (fake.calls() != before).then_some(())).await;
        assert!(nft.carry_out(install(&nft), PATIENCE).await.unwrap());
        std::fs::write(fake.path("go"), "").unwrap();
    };
    let (looked, ()) = tokio::join!(nft.look(), overtake);
    looked.unwrap();
    assert_eq!(nft.remembered(), Filter::Is(SPEC));
    fake.behave("echo new");
    nft.look().await.unwrap();
    assert_eq!(nft.remembered(), Filter::Is(SPEC), "what was listed before is not what it is compared with");
    fake.behave("echo changed");
    nft.look().await.unwrap();
    assert_eq!(nft.remembered(), Filter::Unknown);
    fake.behave(NONE);
    nft.look().await.unwrap();
    assert_eq!(nft.remembered(), Filter::Absent);
}
