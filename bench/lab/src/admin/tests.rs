use bytes::Bytes;

use super::*;

#[test]
fn the_token_is_the_one_of_the_protocol() {
    // Computed with another implementation of RFC 5869.
    assert_eq!(
        token(b"0123456789abcdef0123456789abcdef").expect("a token"),
        "9c21b4b953d3aa6efacd1a863582b0400013d6e8b41659af28f367f5f5c625af"
    );
}

#[test]
fn an_error_needs_its_status_its_shape_and_its_code() {
    let response =
        |status, body: &'static str| Response { status, body: Bytes::from_static(body.as_bytes()) };
    let good = r#"{"error":{"code":"pool_exhausted","message":"no address is free"}}"#;
    let conflict = StatusCode::CONFLICT;
    assert!(expect_error(&response(conflict, good), conflict, Some("pool_exhausted")).is_ok());
    assert!(expect_error(&response(conflict, good), conflict, Some("address_in_use")).is_err());
    assert!(expect_error(&response(conflict, good), StatusCode::BAD_REQUEST, None).is_err());
    assert!(expect_error(&response(conflict, "no address is free"), conflict, None).is_err());
    let silent = r#"{"error":{"code":"pool_exhausted","message":""}}"#;
    assert!(expect_error(&response(conflict, silent), conflict, None).is_err());
}
