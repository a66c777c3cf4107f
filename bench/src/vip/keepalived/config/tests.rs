use std::net::SocketAddr;

use super::*;

#[test]
fn haproxy_answers_for_itself() {
    let addr = SocketAddr::from(([10, 99, 0, 1], 8080));
    let site = Site { listen: ([0, 0, 0, 0], 80).into(), admin: addr, threads: 1, upstreams: vec![addr] };
    let text = haproxy(&site);
    assert!(
        text.contains("    bind 0.0.0.0:80\n    monitor-uri /alive\n    default_backend service\n"),
        "{text}"
    );
    assert!(text.contains("server up-0 10.99.0.1:8080"), "{text}");
}

#[test]
fn each_pace_has_its_adverts_and_its_check() {
    let text = |pace, place| keepalived(pace, place, [10, 99, 0, 100].into(), Path::new("/d"));
    let slow = text(Pace::Second, 0);
    for part in [
        "advert_int 1\n",
        "interval 1\n",
        "script \"/d/check\"",
        "priority 100\n",
        "10.99.0.100/32",
        "nopreempt",
    ] {
        assert!(slow.contains(part), "{part:?} in {slow}");
    }
    assert!(!slow.contains("/d/found"), "{slow}");
    let fast = text(Pace::Tenth, 1);
    for part in
        ["advert_int 0.1\n", "file \"/d/found\"", "file \"/d/hand\"", "priority 90\n", "router_id host2\n"]
    {
        assert!(fast.contains(part), "{part:?} in {fast}");
    }
    assert!(!fast.contains("vrrp_script"), "{fast}");
    for text in [slow, fast] {
        assert_eq!(text.matches('{').count(), text.matches('}').count(), "{text}");
    }
}

#[test]
fn scripts_name_their_files() {
    assert!(loop_script(Path::new("/d")).contains("> '/d/found'"));
    assert!(notify_script(Path::new("/d")).contains("'/d/state'"));
}
