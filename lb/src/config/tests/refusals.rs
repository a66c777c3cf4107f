use super::{LEAST, parse};

/// The numbers: table, key, smallest and largest.
const NUMBERS: [(&str, &str, i64, i64); 46] = [
    ("", "threads", 1, 256),
    ("", "queue_ms", 0, 600_000),
    ("", "queue_requests", 0, 1_000_000),
    ("admin", "max_body_bytes", 1024, 67_108_864),
    ("admin", "max_connections", 1, 65_536),
    ("admin", "read_timeout_ms", 1, 600_000),
    ("admin", "write_timeout_ms", 1, 600_000),
    ("retry", "tries", 0, 1_000),
    ("retry", "timeout_ms", 0, 3_600_000),
    ("retry", "body_limit_bytes", 0, 16_777_216),
    ("retry", "budget_percent", 0, 100),
    ("retry", "budget_min_per_second", 0, 1_000_000),
    ("attempt", "connect_timeout_ms", 1, 600_000),
    ("attempt", "first_byte_min_ms", 1, 600_000),
    ("attempt", "first_byte_max_ms", 1, 600_000),
    ("attempt", "first_byte_multiple_percent", 110, 10_000),
    ("attempt", "read_timeout_ms", 1, 3_600_000),
    ("attempt", "write_timeout_ms", 1, 3_600_000),
    ("upstream", "keepalive", 0, 65_536),
    ("upstream", "max_fails", 0, 1_000_000),
    ("upstream", "fail_timeout_ms", 1, 3_600_000),
    ("upstream", "slow_start_ms", 0, 3_600_000),
    ("upstream", "idle_timeout_ms", 1, 3_600_000),
    ("upstream", "ack_timeout_ms", 1, 600_000),
    ("limits", "header_bytes", 256, 1_048_576),
    ("limits", "header_timeout_ms", 1, 600_000),
    ("limits", "body_bytes", 0, 1_099_511_627_776),
    ("limits", "connections", 1, 1_000_000),
    ("limits", "requests_per_second_per_client", 0, 1_000_000),
    ("limits", "upstreams", 1, 16_384),
    ("client", "idle_timeout_ms", 1, 3_600_000),
    ("client", "read_timeout_ms", 1, 600_000),
    ("client", "write_timeout_ms", 1, 600_000),
    ("client", "requests", 1, 4_294_967_295),
    ("client", "h2_streams", 1, 65_536),
    ("check", "interval_ms", 10, 3_600_000),
    ("check", "timeout_ms", 1, 600_000),
    ("check", "rise", 1, 1_000),
    ("check", "fall", 1, 1_000),
    ("check", "expect_status", 100, 599),
    ("access_log", "sample", 1, 1_000_000),
    ("access_log", "queue", 1, 65_536),
    ("heartbeat", "interval_ms", 1, 60_000),
    ("drain", "linger_ms", 0, 600_000),
    ("drain", "timeout_ms", 0, 3_600_000),
    ("drain", "upgrade_timeout_ms", 0, 86_400_000),
];

#[test]
fn every_number_has_limits_and_its_refusal_names_them() {
    for (table, key, min, max) in NUMBERS {
        let head = if table.is_empty() { String::new() } else { format!("[{table}]\n") };
        let text = |value: &str| format!("{LEAST}{head}{key} = {value}\n");
        let line = format!("line {}", if table.is_empty() { 2 } else { 3 });
        for value in [min, max] {
            if let Err(error) = parse(&text(&value.to_string())) {
                // The other one of the two bounds is at its default then.
                assert!(key.starts_with("first_byte_m") && error.contains("is more than"), "{key}: {error}");
            }
        }
        for value in [min - 1, max + 1, -1] {
            let error = parse(&text(&value.to_string())).unwrap_err();
            for part in [&line, key, &format!("{value} is not from {min} to {max}")] {
                assert!(error.contains(part), "{part}: {error}");
            }
        }
        for value in ["\"1\"", "1.5", "true", "[]"] {
            let error = parse(&text(value)).unwrap_err();
            assert!(error.contains(&line) && error.contains(key), "{error}");
        }
    }
}

#[test]
fn errors_name_line_and_key() {
    for (text, line, key, why) in [
        ("listen = \"nowhere\"\n", 1, "listen", "\"nowhere\" is not an address with a port"),
        (
            "listen = [\"0.0.0.0:80\", \"0.0.0.0\"]\n",
            1,
            "listen",
            "\"0.0.0.0\" is not an address with a port",
        ),
        ("listen = 80\n", 1, "listen", "expected an address with a port, or a list"),
        ("\nport = 80\n", 2, "port", "unknown field"),
        ("workers = 2\n", 1, "workers", "unknown field"),
        ("admin = \"nowhere\"\n", 1, "admin", "\"nowhere\" is not an address with a port"),
        ("admin = 9000\n", 1, "admin", "expected an address with a port, or a table"),
        ("[admin]\nlisten = \"nowhere\"\n", 2, "listen", "\"nowhere\" is not an address with a port"),
        ("[admin]\ntokens = 1\n", 2, "tokens", "unknown field"),
        ("[admin]\ntoken = \"short\"\n", 2, "token", "at least 16"),
        ("[admin]\nallow = [\"10.0.0.0/33\"]\n", 2, "allow", "\"10.0.0.0/33\" is neither a network"),
        ("hidden_paths = [\"/a\", \"b\"]\n", 1, "hidden_paths", "\"b\" is not a path"),
        ("hidden_paths = [\"/a?b\"]\n", 1, "hidden_paths", "is not a path"),
        ("hidden_paths = [\"\"]\n", 1, "hidden_paths", "is not a path"),
        (&format!("hidden_paths = {:?}\n", ["/a"; 17]), 1, "hidden_paths", "17 paths are more than 16"),
        ("balance = \"random\"\n", 1, "balance", "\"random\" is not one of round_robin"),
        ("hash_key = \"header:\"\n", 1, "hash_key", "\"header:\" is not one of uri"),
        ("hash_key = \"header:a b\"\n", 1, "hash_key", "is not one of"),
        ("hash_key = \"cookie:a=b\"\n", 1, "hash_key", "is not one of"),
        ("hash_key = \"path\"\n", 1, "hash_key", "is not one of"),
        ("[retry]\non = [\"error\", \"http_418\"]\n", 2, "on", "\"http_418\" is not one of error"),
        ("[retry]\non = [\"error\", \"off\"]\n", 2, "on", "off must stand alone"),
        ("[retry]\non = \"error\"\n", 2, "on", "expected a sequence"),
        ("[retry]\nnon_idempotent = 1\n", 2, "non_idempotent", "expected a boolean"),
        ("[upstream]\nprotocol = \"h3\"\n", 2, "protocol", "expected `http1` or `h2`"),
        ("[upstream]\nmax_idle = 5\n", 2, "max_idle", "unknown field"),
        ("[check]\npath = \"healthz\"\n", 2, "path", "\"healthz\" is not a path"),
        ("[access_log]\nformat = \"xml\"\n", 2, "format", "expected `text` or `json`"),
        ("[access_log]\npath = \"\"\n", 2, "path", "it must be stdout, stderr or a file"),
        ("[[tls]]\nlisten = \"127.0.0.1:1\"\ncertificate = \"a\"\n", 1, "tls", "missing field `key`"),
        ("[[upstreams]]\nid = \"a\"\naddr = \"b:80\"\n", 3, "addr", "invalid socket address"),
        ("[[upstreams]]\nid = \"a\"\naddr = \"10.0.0.1:80\"\nwait = 1\n", 4, "wait", "unknown field"),
    ] {
        let error = parse(text).unwrap_err();
        for part in [&format!("line {line}"), key, why] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}

#[test]
fn errors_of_values_that_do_not_go_together_name_both() {
    const TLS: &str = "certificate = \"a.pem\"\nkey = \"a.key\"\n";
    let upstreams = |more: &str| format!("{LEAST}[[upstreams]]\nid = \"a\"\naddr = \"10.0.0.1:80\"\n{more}");
    for (text, key, why) in [
        ("", "listen: ", "[[tls]]"),
        ("listen = []\n", "listen: ", "[[tls]]"),
        ("listen = [\"1.2.3.4:5\", \"1.2.3.4:5\"]\n", "listen[1]: ", "1.2.3.4:5 is listen[0] too"),
        (&format!("listen = {:?}\n", ["1.2.3.4:0"; 65]), "listen: ", "65 addresses are more than 64"),
        (
            &format!("listen = [\"1.2.3.4:0\", \"1.2.3.4:5\"]\n[[tls]]\nlisten = \"1.2.3.4:5\"\n{TLS}"),
            "tls[0].listen: ",
            "1.2.3.4:5 is listen[1] too",
        ),
        ("listen = \"1.2.3.4:5\"\nadmin = \"1.2.3.4:5\"\n", "admin.listen: ", "an address for traffic too"),
        (
            &format!("{LEAST}[attempt]\nfirst_byte_min_ms = 20\nfirst_byte_max_ms = 19\n"),
            "attempt.first_byte_min_ms: ",
            "20 is more than attempt.first_byte_max_ms, which is 19",
        ),
        (&upstreams("weight = 0\n"), "upstreams[0].weight: ", "0: must be 1 to 1000"),
        (&upstreams("incarnation = 0\n"), "upstreams[0].incarnation: ", "must be at least 1"),
        (
            &upstreams("[[upstreams]]\nid = \"a\"\naddr = \"10.0.0.2:80\"\n"),
            "upstreams[1].id: ",
            "is the id of upstreams[0] too",
        ),
        (
            &upstreams("[[upstreams]]\nid = \"b/c/d\"\naddr = \"10.0.0.2:80\"\n"),
            "upstreams[1].id: ",
            "is neither <name> nor <node>/<name>",
        ),
        (
            &upstreams("[[upstreams]]\nid = \"b\"\naddr = \"10.0.0.2:80\"\n[limits]\nupstreams = 1\n"),
            "upstreams: ",
            "2 upstreams, at most 1 are allowed",
        ),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(key) && error.contains(why), "{text}: {error}");
    }
}
