use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Beat, Beats, Inbox, Incoming, PAYLOAD_MAX_BYTES, TooLong};

fn beat(node: &str, payload: &'static str) -> Beat {
    Beat {
        node: node.to_owned(),
        boot: 1,
        payload: Bytes::from_static(payload.as_bytes()),
        at: Instant::now(),
    }
}

#[tokio::test]
async fn the_newest_of_each_node_in_turn() {
    let inbox = Arc::new(Inbox::default());
    let mut incoming = Incoming::new(Arc::clone(&inbox));
    for (node, payload) in [("b", "1"), ("a", "1"), ("b", "2"), ("b", "3"), ("a", "2")] {
        inbox.put(beat(node, payload));
    }
    assert_eq!(inbox.len(), 2);
    for (node, payload) in [("b", "3"), ("a", "2")] {
        let beat = incoming.recv().await;
        assert_eq!((beat.node.as_str(), &beat.payload[..]), (node, payload.as_bytes()));
    }
    assert_eq!(inbox.len(), 0);
}

#[tokio::test]
async fn a_reader_that_waits_is_woken() {
    let inbox = Arc::new(Inbox::default());
    let mut incoming = Incoming::new(Arc::clone(&inbox));
    let reader = tokio::spawn(async move { incoming.recv().await.node });
    tokio::task::yield_now().await;
    inbox.put(beat("a", "1"));
    assert_eq!(reader.await.unwrap(), "a");
}

#[test]
fn a_payload_that_is_too_long_is_refused() {
    let beats = Beats::new();
    let set = |bytes| beats.set(Bytes::from(vec![0; bytes]), Duration::from_secs(1));
    assert_eq!(set(PAYLOAD_MAX_BYTES), Ok(()));
    let error = set(PAYLOAD_MAX_BYTES + 1).unwrap_err();
    assert_eq!(error, TooLong(1_201));
    assert_eq!(error.to_string(), "a beat of 1201 bytes; 1200 are permitted");
    assert_eq!(beats.said.borrow().as_ref().unwrap().payload.len(), PAYLOAD_MAX_BYTES);
}

#[test]
fn only_what_has_lapsed_is_news_when_it_is_renewed() {
    let beats = Beats::new();
    let mut said = beats.said.subscribe();
    let second = Duration::from_secs(1);
    beats.renew(second);
    assert!(said.borrow_and_update().is_none(), "there is nothing to say yet");
    beats.set(Bytes::from_static(b"a"), second).unwrap();
    assert!(said.has_changed().unwrap());
    said.mark_unchanged();
    let now = tokio::time::Instant::now();
    beats.renew_at(now, second);
    assert!(!said.has_changed().unwrap(), "it is being said");
    beats.renew_at(now + second, second);
    assert!(said.has_changed().unwrap(), "it was not said any more");
    // The same again is said at once all the same.
    said.mark_unchanged();
    beats.set(Bytes::from_static(b"a"), second).unwrap();
    assert!(said.has_changed().unwrap());
}
