//! What a write of a large set and a look at the metrics cost the thread they run on. Run it in a release build:
//! `cargo test --release -p lb admin::timing -- --ignored --nocapture`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use wire::{PutUpstreams, Upstream, UpstreamState};

use super::body::decode;
use super::upstreams::FullSet;
use crate::config::Config;
use crate::control::settings;
use crate::metrics::{Metrics, Outcome};
use crate::pool::{Choice, Pool, Tried, validate};

const ROUNDS: u64 = 200;

fn set(generation: u64, upstreams: u16) -> PutUpstreams {
    let upstream = |n: u16| Upstream {
        id: format!("host{}/svc-{n}", n / 32),
        // One of them is another one each time.
        incarnation: if u64::from(n) == generation % u64::from(upstreams) { generation } else { 1 },
        addr: ([10, 77, n.to_be_bytes()[0], n.to_be_bytes()[1]], 8080).into(),
        weight: 1,
        state: UpstreamState::Up,
        backup: false,
        max_conns: 0,
    };
    PutUpstreams { generation, upstreams: (0..upstreams).map(upstream).collect() }
}

/// Prints the microseconds that each of some rounds takes.
fn measure(what: &str, mut round: impl FnMut(u64)) {
    let began = Instant::now();
    (1..=ROUNDS).for_each(&mut round);
    println!("{what:>34}: {:>7} us", began.elapsed().as_micros() / u128::from(ROUNDS));
}

#[test]
#[ignore = "it measures, and asserts nothing"]
fn costs() {
    for (upstreams, balance) in
        [(1000, "round_robin"), (1000, "least_conn"), (1000, "hash"), (16_384, "round_robin")]
    {
        let config = format!("listen = \"127.0.0.1:0\"\nbalance = \"{balance}\"\n");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), config).unwrap();
        let config = Config::load(file.path()).unwrap();
        let metrics = Arc::new(Metrics::new(prometheus::Registry::new()).unwrap());
        let pool = Pool::new(settings(&config), 2, Arc::clone(&metrics));
        println!("{upstreams} upstreams, {balance}");
        let texts: Vec<Vec<u8>> =
            (1..=ROUNDS).map(|n| serde_json::to_vec(&set(n, upstreams)).unwrap()).collect();
        let text = |round: u64| &texts[usize::try_from(round).unwrap() - 1];
        measure("decode", |round| drop(black_box(decode::<FullSet>(text(round)).ok())));
        // All is read twice, the second time with an eye on where one is.
        let wrong = [&texts[0][..texts[0].len() - 1], b",\"x\":1}"].concat();
        measure("decode, and blame a field", |_| assert!(decode::<FullSet>(&wrong).is_err()));
        let mut sets: Vec<PutUpstreams> = texts.iter().map(|text| decode(text).ok().unwrap()).collect();
        measure("validate", |_| validate(black_box(&sets[0]), usize::from(upstreams)).unwrap());
        sets.reverse();
        measure("put", |_| assert!(pool.put(sets.pop().unwrap()).is_ok()));
        for n in 0..10 * u64::from(upstreams) {
            let choice = Choice { key: &n.to_le_bytes(), random: n };
            let attempt = pool.begin(&Tried::default(), choice).unwrap();
            attempt.heard();
            attempt.end(Outcome::Ok);
        }
        measure("GET /v1/upstreams", |_| drop(black_box(serde_json::to_vec(&pool.view()).unwrap())));
        let mut bytes = 0;
        measure("GET /metrics", |_| bytes = metrics.encode(&pool.seen()).unwrap().len());
        println!("{:>34}: {bytes:>7} bytes", "");
    }
}
