use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use manager_core::vip::{Adopted, Route, VipNet};

use super::{Work, adopted};
use crate::net::{VipDesired, VipRoute};

#[test]
fn the_machines_words_are_translated_or_refused() {
    let addr: Ipv4Addr = "10.0.0.100".parse().unwrap();
    let (lb, lan): (Ipv4Addr, Ipv4Addr) = ("10.1.0.2".parse().unwrap(), "10.0.0.12".parse().unwrap());
    let lans = BTreeMap::from([("b".to_owned(), lan)]);
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
        let work = Work { net, lb, lans: lans.clone() };
        assert_eq!(work.desired(addr), expected, "{work:?}");
    }
}

#[test]
fn what_is_found_is_adopted_and_wanted_again() {
    let addr: Ipv4Addr = "10.0.0.100".parse().unwrap();
    let (lb, lan): (Ipv4Addr, Ipv4Addr) = ("10.1.0.2".parse().unwrap(), "10.0.0.12".parse().unwrap());
    let stranger: Ipv4Addr = "10.0.0.13".parse().unwrap();
    let lans = BTreeMap::from([("b".to_owned(), lan)]);
    let b = || Some("b".to_owned());
    let table = [
        (false, VipRoute::None, None, Route::None, None),
        (true, VipRoute::Bridge(lb), Some(lan), Route::OwnLb, b()),
        (false, VipRoute::Bridge(lb), None, Route::OwnLb, None),
        (false, VipRoute::Via(lan), None, Route::Via("b".to_owned()), None),
        (false, VipRoute::Via(stranger), Some(stranger), Route::None, None),
    ];
    for (answer, way, chance, route, second_chance) in table {
        let found = VipDesired { addr, answer, route: way, second_chance: chance };
        let expected = Adopted { answer, route: route.clone(), second_chance: second_chance.clone() };
        assert_eq!(adopted(&found, &lans), expected, "{found:?}");
        if way != VipRoute::Via(stranger) {
            let net = VipNet { revision: 1, answer, route, second_chance };
            assert_eq!(Work { net, lb: Some(lb), lans: lans.clone() }.desired(addr), Ok(found));
        }
    }
}
