use std::sync::Arc;
use std::time::Instant;

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
    assert_eq!(beats.set(Bytes::from(vec![0; PAYLOAD_MAX_BYTES])), Ok(()));
    let error = beats.set(Bytes::from(vec![0; PAYLOAD_MAX_BYTES + 1])).unwrap_err();
    assert_eq!(error, TooLong(1_201));
    assert_eq!(error.to_string(), "a beat of 1201 bytes; 1200 are permitted");
    assert_eq!(beats.payload.borrow().len(), PAYLOAD_MAX_BYTES);
}
