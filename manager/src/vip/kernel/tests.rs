use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use manager_core::vip::{Route, VipNet};

use super::Work;
use crate::net::{VipDesired, VipRoute};

#[test]
fn the_machines_words_are_translated_or_refused() {
    let addr: Ipv4Addr = "10.0.0.100".parse().unwrap();
    let (lb, lan): (Ipv4Addr, Ipv4Addr) = ("10.1.0.2".parse().unwrap(), "10.0.0.12".parse().unwrap());
    let peers = BTreeMap::from([("b".to_owned(), lan)]);
    let b = || "b".to_owned();
    let is = |answer, route, second_chance| Ok(VipDesired { addr, answer, route, second_chance });
    let table = [
        (false, Route::None, None, None, is(false, VipRoute::None, None)),
        (true, Route::OwnLb, Some(b()), Some(lb), is(true, VipRoute::Bridge(lb), Some(lan))),
        (false, Route::Via(b()), None, None, is(false, VipRoute::Via(lan), None)),
        // Nothing to serve stale clients with.
        (false, Route::OwnLb, None, None, is(false, VipRoute::None, None)),
        (true, Route::OwnLb, None, None, Err("there is no load balancer to route to".to_owned())),
        (false, Route::Via("c".to_owned()), None, None, Err("c is no peer".to_owned())),
        (true, Route::OwnLb, Some("c".to_owned()), Some(lb), Err("c is no peer".to_owned())),
    ];
    for (answer, route, second_chance, lb, expected) in table {
        let net = VipNet { revision: 1, answer, route, second_chance };
        let work = Work { net, lb };
        assert_eq!(work.desired(addr, &peers), expected, "{work:?}");
    }
}
