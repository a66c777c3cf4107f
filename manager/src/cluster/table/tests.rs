use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use wire::{PeerService, PeerServices, UpstreamState};

use super::{
    Error, SERVICES_MAX, Table, VALUE_MAX_BYTES, decode, decode_forgotten, decode_pool, encode, encode_pool,
    forgotten_key, is_of_table,
};

type Values = BTreeMap<String, String>;

fn service(number: u16, incarnation: u64) -> PeerService {
    let addr =
        std::net::SocketAddr::from(([10, 77, 11, u8::try_from(number % 250).unwrap()], 8080 + number / 250));
    PeerService { id: format!("host1/svc-{number}"), incarnation, addr, state: UpstreamState::Up }
}

fn table(revision: u64, services: Vec<PeerService>) -> Table {
    let account = PeerServices { boot: 5, revision, lb: None, services };
    Table { account, vip: "{}".to_owned(), load: "0.5".to_owned() }
}

/// What a chain of writes is, one by one, as gossip orders them: deletions, then values.
fn writes(table: &Table, before: &Values) -> Vec<(String, Option<String>)> {
    let values = encode(table, before).unwrap();
    let kept: BTreeSet<_> = values.iter().map(|(key, _)| key.clone()).collect();
    let gone = before.keys().filter(|key| is_of_table(key) && !kept.contains(*key));
    let deleted: Vec<_> = gone.map(|key| (key.clone(), None)).collect();
    let written = values.into_iter().filter(|(key, value)| before.get(key) != Some(value));
    deleted.into_iter().chain(written.map(|(key, value)| (key, Some(value)))).collect()
}

fn apply(values: &mut Values, (key, value): (String, Option<String>)) {
    match value {
        Some(value) => values.insert(key, value),
        None => values.remove(&key),
    };
}

fn read(values: &Values) -> Result<Option<Table>, Error> {
    decode(values.iter().map(|(key, value)| (key.as_str(), value.as_str())))
}

#[test]
fn a_change_of_one_service_writes_two_values() {
    let mut values = Values::new();
    for write in writes(&table(1, vec![service(1, 1), service(2, 1), service(3, 1)]), &values) {
        apply(&mut values, write);
    }
    let after = writes(&table(2, vec![service(1, 1), service(2, 2), service(3, 1)]), &values);
    let keys: Vec<_> = after.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["service/host1/svc-2", "account"]);
}

#[test]
fn what_cannot_be_carried_is_refused_and_named() {
    let too_many = (0..513).map(|number| service(number, 1)).collect();
    assert_eq!(encode(&table(1, too_many), &Values::new()), Err(Error::TooMany(513)));
    let long = Table { vip: "v".repeat(VALUE_MAX_BYTES + 1), ..table(1, Vec::new()) };
    let error = encode(&long, &Values::new()).unwrap_err();
    assert_eq!(error.to_string(), "vip: has 1025 bytes; 1024 are permitted");
    let fits = (0..u16::try_from(SERVICES_MAX).unwrap()).map(|number| service(number, 1)).collect();
    assert!(encode(&table(1, fits), &Values::new()).is_ok());
}

#[test]
fn what_has_no_shape_is_refused_and_named() {
    let good = "5.1 {\"id\":\"host1/a\",\"incarnation\":1,\"addr\":\"10.0.0.1:1\",\"state\":\"up\"}";
    let head = |count| format!("{{\"boot\":5,\"revision\":1,\"services\":{count}}}");
    let huge = "x".repeat(VALUE_MAX_BYTES + 1);
    for (key, value, message) in [
        ("account", "{", "account: EOF"),
        ("account", &head(100_000)[..], "account.services: there are 100000"),
        ("service/host1/a", "5.1", "service/host1/a: says nothing"),
        ("service/host1/a", "5 {}", "service/host1/a: does not begin"),
        ("service/host1/a", "5.1 {}", "service/host1/a: missing field"),
        ("service/host1/b", good, "service/host1/b: describes another service"),
        ("vip", &huge, "vip: has 1025 bytes"),
    ] {
        let error = decode([(key, value)]).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
    assert_eq!(decode([("something", "newer")]), Ok(None));
    assert!(decode([("account", &head(1)[..]), ("service/host1/a", good)]).unwrap().is_some());
    assert!(decode_pool([("pool", "x")]).is_err());
}

#[test]
fn pools_and_forgotten_nodes_come_back() {
    let pool = "10.77.11.0/24".parse().unwrap();
    let (key, value) = encode_pool(pool);
    assert_eq!(decode_pool([(key.as_str(), value.as_str())]), Ok(Some(pool)));
    assert_eq!(decode_pool([]), Ok(None));
    let key = forgotten_key("host3");
    let values = [(key.as_str(), "7"), ("forgotten/host4", "x"), ("vip", "9")];
    assert_eq!(decode_forgotten(values).collect::<Vec<_>>(), [("host3", 7)]);
    assert!(!is_of_table(&key) && !is_of_table("pool"));
}

proptest! {
    /// A reader that has seen any part of any history of tables reads one of them in full, or nothing.
    #[test]
    fn a_part_of_a_change_is_never_taken_for_a_table(
        history in prop::collection::vec(prop::collection::btree_map(0_u16..5, 1_u64..4, 0..5), 1..8),
    ) {
        let mut values = Values::new();
        let mut last = None;
        for (revision, services) in (1..).zip(history) {
            let services = services.into_iter().map(|(number, incarnation)| service(number, incarnation)).collect();
            let next = table(revision, services);
            for write in writes(&next, &values) {
                apply(&mut values, write);
                let read = read(&values).unwrap();
                prop_assert!(read.is_none() || read == last || read.as_ref() == Some(&next), "{:?}", read);
            }
            prop_assert_eq!(read(&values), Ok(Some(next.clone())));
            last = Some(next);
        }
    }
}
