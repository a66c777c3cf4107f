use std::net::IpAddr;

use super::hash_key;
use crate::config::Config;
use crate::http1::RequestHead;

fn key(hash_key_of: &str, client: &str) -> String {
    let text = format!("listen = \"127.0.0.1:0\"\nbalance = \"hash\"\nhash_key = \"{hash_key_of}\"\n");
    let config: Config = toml::from_str(&text).unwrap();
    let mut head = RequestHead::default();
    let request =
        b"GET /a?b HTTP/1.1\r\nHost: h\r\nX-User: u1\r\nCookie: sessions=no; session=yes; session=2\r\n\r\n";
    head.parse(request, 8192).unwrap();
    let mut key = b"old".to_vec();
    let client: IpAddr = client.parse().unwrap();
    hash_key(&mut key, &config, &head, client);
    String::from_utf8(key).unwrap()
}

#[test]
fn keys_for_consistent_hashing() {
    assert_eq!(key("uri", "10.0.0.1"), "/a?b");
    assert_eq!(key("header:x-user", "10.0.0.1"), "u1");
    assert_eq!(key("header:absent", "10.0.0.1"), "");
    assert_eq!(key("cookie:session", "10.0.0.1"), "yes");
    assert_eq!(key("client", "1.2.3.4"), "\u{1}\u{2}\u{3}\u{4}");
    assert_eq!(key("client", "::ffff:1.2.3.4"), key("client", "1.2.3.4"), "one client has one address");
}
