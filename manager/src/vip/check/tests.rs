use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::ask;

#[tokio::test]
async fn any_http_answer_will_do_and_nothing_else() {
    let limit = Duration::from_secs(10);
    for (answer, fit) in [
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\n\r\nbody", true),
        ("SSH-2.0-OpenSSH\r\n", false),
        ("", false),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            // All of the question is read, so that the end is no reset.
            stream.shutdown().await.unwrap();
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.ok();
        };
        let (outcome, ()) = tokio::join!(ask(at, limit), serve);
        assert_eq!(outcome.is_ok(), fit, "{answer:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_port_nobody_listens_on_is_conclusive_and_silence_is_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let silent = ask(at, Duration::from_millis(50)).await.unwrap_err();
    assert!(!silent.is_conclusive && silent.words.contains("no answer within 50 ms"), "{silent:?}");
    drop(listener);
    let refused = ask(at, Duration::from_secs(10)).await.unwrap_err();
    assert!(refused.is_conclusive && refused.words.contains(&at.to_string()), "{refused:?}");
}
