//! `/v1/events`, read as a follower reads it.

use wire::ClusterEvent;

use super::*;
use crate::stream::{Error, Stream};

async fn open(api: &Api, query: &str) -> Stream<ClusterEvent> {
    Stream::open(api.addr, &format!("/v1/events{query}"), NEVER).await.unwrap()
}

/// The next event, as its number and its text.
async fn next(stream: &mut Stream<ClusterEvent>) -> Result<(u64, String), Error> {
    let event = tokio::time::timeout(NEVER, stream.next()).await.expect("an event or the end")?;
    assert_eq!(event.node, "host1");
    Ok((event.number, format!("{}: {}", event.subject, event.text)))
}

#[tokio::test]
async fn what_was_is_shown_and_what_comes_follows() {
    let api = Api::start(true).await;
    for n in 1..=3 {
        api.journal.write("vip", &format!("event {n}"));
    }
    let mut kept = open(&api, "?follow=false").await;
    for n in 1..=3 {
        assert_eq!(next(&mut kept).await.unwrap(), (n, format!("vip: event {n}")));
    }
    assert!(matches!(next(&mut kept).await, Err(Error::Closed)));

    let mut following = open(&api, "?after=2").await;
    assert_eq!(next(&mut following).await.unwrap(), (3, "vip: event 3".to_owned()));
    api.journal.write("host2", "live by gossip");
    assert_eq!(next(&mut following).await.unwrap(), (4, "host2: live by gossip".to_owned()));

    let mut nothing = open(&api, "?after=4&follow=false").await;
    assert!(matches!(next(&mut nothing).await, Err(Error::Closed)));
}

#[tokio::test]
async fn there_are_so_many_streams_and_no_more() {
    let api = Api::start(true).await;
    let mut streams = Vec::new();
    for _ in 0..8 {
        streams.push(open(&api, "").await);
    }
    let ninth = api.refused((Method::GET, "/v1/events", None, ""), 503, "too_many_streams", None);
    let message = tokio::time::timeout(NEVER, ninth).await.expect("it is refused, and not served");
    assert_eq!(message, "streams of events: 127.0.0.1 has 8 already, as many as one address may have");
    // All else is answered, and a reader that goes away makes room.
    assert_eq!(api.raw(Method::GET, "/healthz", None, "").await.0, StatusCode::OK);
    streams.pop();
    let again = async {
        while Stream::<ClusterEvent>::open(api.addr, "/v1/events", NEVER).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(NEVER, again).await.expect("a place is given back");
}

#[tokio::test]
async fn parameters_that_are_none_are_refused() {
    let api = Api::start(true).await;
    for (query, word) in
        [("after=-1", "after"), ("after=x", "after"), ("follow=maybe", "follow"), ("since=1", "since")]
    {
        let path = format!("/v1/events?{query}");
        let message = api.refused((Method::GET, &path, None, ""), 400, "invalid_parameter", None).await;
        assert!(message.contains(word), "{message}");
    }
}
