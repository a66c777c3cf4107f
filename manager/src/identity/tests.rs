use std::os::unix::fs::PermissionsExt;

use super::{Purpose, Secret};

fn load(text: &[u8], mode: u32) -> Result<Secret, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    Secret::load(&path).map_err(|error| error.to_string())
}

#[test]
fn one_token_per_purpose_and_node() {
    let secret = load(&[b'x'; 32], 0o600).unwrap();
    let purposes =
        [Purpose::Api, Purpose::Peer, Purpose::LbAdmin { node: "host1" }, Purpose::LbAdmin { node: "host2" }];
    for (index, purpose) in purposes.into_iter().enumerate() {
        let token = secret.token(purpose);
        assert_eq!(token.reveal().len(), 64);
        assert!(token.admits(Some(token.header().as_bytes())));
        for other in &purposes[index + 1..] {
            assert!(!token.admits(Some(secret.token(*other).header().as_bytes())), "{purpose:?} {other:?}");
        }
        for wrong in [&b""[..], b"Bearer ", b"Bearer x", b"Basic x", token.reveal().as_bytes()] {
            assert!(!token.admits(Some(wrong)), "{wrong:?}");
        }
        assert!(!token.admits(None));
    }
}

#[test]
fn one_key_per_purpose_and_secret_and_none_is_a_token() {
    let (secret, other) = (load(&[b'x'; 32], 0o600).unwrap(), load(&[b'y'; 32], 0o600).unwrap());
    let key = secret.key("datagram/a");
    assert_eq!(key, secret.key("datagram/a"));
    assert_ne!(key, secret.key("datagram/b"));
    assert_ne!(key, other.key("datagram/a"));
    assert_ne!(base16ct::lower::encode_string(&secret.key("api")), secret.token(Purpose::Api).reveal());
}

#[test]
fn white_space_around_the_secret_does_not_count() {
    let plain = load(&[b'x'; 40], 0o600).unwrap();
    let spaced = load(&[&[b'x'; 40][..], b"\n"].concat(), 0o400).unwrap();
    assert_eq!(plain.token(Purpose::Api), spaced.token(Purpose::Api));
}

#[test]
fn an_unfit_secret_says_why() {
    assert!(load(b"short", 0o600).unwrap_err().contains("holds 5 bytes; 32 to 4096 are needed"));
    assert!(load(&[b'x'; 5_000], 0o600).unwrap_err().contains("holds 5000 bytes"));
    assert!(load(&[b'x'; 32], 0o644).unwrap_err().contains("mode 0644"));
    let missing = Secret::load(std::path::Path::new("/nonexistent/secret")).unwrap_err().to_string();
    assert!(missing.contains("/nonexistent/secret"), "{missing}");
}
