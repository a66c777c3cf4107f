use super::Changes;
use crate::config::Config;
use crate::config::tests::GOOD;

fn running() -> String {
    let third = "[[peers]]\nnode = \"host3\"\napi = \"10.77.0.13:7700\"\npool = \"10.77.13.0/24\"\n";
    GOOD.replacen("[[peers]]", "[lb.config.retry]\nattempts = 3\n[[peers]]", 1) + third
}

fn changes(from: &str, to: &str) -> Changes {
    let running = running();
    assert!(running.contains(from), "{from}");
    Changes::between(&toml::from_str(&running).unwrap(), &toml::from_str(&running.replace(from, to)).unwrap())
}

#[test]
fn a_file_that_says_the_same_in_other_words_changes_nothing() {
    let same = changes("interface = \"eth0\"", "interface = \"eth0\"\nbridge = \"phx0\"");
    assert_eq!(same, Changes::default(), "a default that is written out");
    assert!(!same.of_peers());
    let text = running();
    let turned = text.split("[[peers]]").collect::<Vec<_>>();
    let turned = format!("{}[[peers]]{}[[peers]]{}", turned[0], turned[2], turned[1]);
    let running: Config = toml::from_str(&text).unwrap();
    assert_eq!(
        Changes::between(&running, &toml::from_str(&turned).unwrap()),
        Changes::default(),
        "in other order"
    );
}

#[test]
fn peers_join_leave_and_move() {
    let cases = [
        (
            "node = \"host3\"",
            "node = \"host4\"",
            "host4 at 10.77.0.13:7700 with pool 10.77.13.0/24 joins, host3 leaves",
        ),
        ("10.77.0.13:7700", "10.77.0.14:7700", "host3 at 10.77.0.14:7700 with pool 10.77.13.0/24 now"),
        ("10.77.13.0/24", "10.77.14.0/24", "host3 at 10.77.0.13:7700 with pool 10.77.14.0/24 now"),
    ];
    for (from, to, words) in cases {
        let changes = changes(from, to);
        assert!(changes.of_peers() && changes.restart.is_empty(), "{to}: {changes:?}");
        assert_eq!(changes.to_string(), words);
    }
}

#[test]
fn every_other_key_needs_a_restart_and_is_named() {
    let cases = [
        ("node = \"host1\"", "node = \"host9\"", vec!["node"]),
        ("node = \"host1\"", "node = \"host1\"\nstate_dir = \"/srv\"", vec!["state_dir"]),
        ("10.77.0.11:7700", "10.77.0.11:7777", vec!["api.listen"]),
        ("10.77.11.0/24", "10.77.21.0/24", vec!["network.pool"]),
        (
            "attempts = 3",
            "attempts = 4\nbudget = 1",
            vec!["lb.config.retry.attempts", "lb.config.retry.budget"],
        ),
        ("[lb.config.retry]\nattempts = 3", "", vec!["lb.config.retry"]),
        ("[lb.config", "[vip]\naddr = \"10.77.0.100\"\n[lb.config", vec!["vip"]),
        (
            "[lb.config",
            "[cluster]\ngossip_port = 9\n[heartbeat]\nretries = 9\n[lb.config",
            vec!["cluster.gossip_port", "heartbeat.retries"],
        ),
    ];
    for (from, to, keys) in cases {
        let changes = changes(from, to);
        assert_eq!(changes.restart, keys, "{to}");
        assert!(!changes.of_peers(), "{to}");
    }
}
