//! Servers that answer badly, and what is said of them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream as Connection};
use std::sync::Arc;
use std::thread;

use super::*;

/// A server on a port of its own that does the same with every connection; its first request head is read.
fn server(serve: impl Fn(Connection) + Send + 'static) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            serve(stream);
        }
    });
    Target { tls: false, host: "127.0.0.1".into(), port, path: "/".into(), headers: Vec::new() }
}

/// Reads a request head.
fn head(mut stream: impl Read) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

/// A server that reads a request and answers with these bytes.
fn answering(answer: &'static str) -> Target {
    server(move |mut stream| {
        head(&stream);
        let _ = stream.write_all(answer.as_bytes());
    })
}

async fn ask(target: &Target, limit: Duration) -> Result<Answer, HttpError> {
    get(target, &PROBE_AGENT, limit).await
}

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(200);

async fn transport(target: &Target, limit: Duration) -> String {
    match ask(target, limit).await {
        Err(HttpError::Transport { url, why }) => {
            assert_eq!(url, target.url());
            why.replace(&target.port.to_string(), "PORT")
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    let target = server(drop);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let target = Target { port, ..target };
    let why = transport(&target, LONG).await;
    assert_eq!(why, "dial tcp 127.0.0.1:PORT: connect: connection refused");
}

#[tokio::test]
async fn a_connection_closed_without_an_answer_is_an_eof() {
    let target = server(|stream| drop(head(&stream)));
    assert_eq!(transport(&target, LONG).await, "EOF");
}

#[tokio::test]
async fn a_reset_connection_names_both_ends() {
    let target = server(|stream| {
        head(&stream);
        let off = Some(Duration::ZERO);
        rustix::net::sockopt::set_socket_linger(&stream, off).unwrap();
    });
    let why = transport(&target, LONG).await;
    assert!(why.starts_with("read tcp 127.0.0.1:"), "{why}");
    assert!(why.ends_with("->127.0.0.1:PORT: read: connection reset by peer"), "{why}");
}

#[tokio::test]
async fn answers_that_are_not_http_are_quoted() {
    let why = transport(&answering("220 mail ready\r\n"), LONG).await;
    let expected = "net/http: HTTP/1.x transport connection broken: malformed HTTP response \"220 mail ready\"";
    assert_eq!(why, expected);
    let why = transport(&answering("HTTP/1.1 200 OK\r\nConte"), LONG).await;
    assert_eq!(why, "net/http: HTTP/1.x transport connection broken: unexpected EOF");
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time() {
    let target = server(std::mem::forget);
    let slow = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
    assert_eq!(transport(&target, SHORT).await, slow);
}

#[tokio::test]
async fn a_body_that_ends_early_or_late_is_an_error_and_no_failure() {
    let target = answering("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort");
    let error = ask(&target, LONG).await.unwrap_err();
    assert_eq!(error, HttpError::Request("unexpected EOF".into()));
    let target = server(|mut stream| {
        head(&stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nslow").unwrap();
        std::mem::forget(stream);
    });
    let slow =
        "context deadline exceeded (Client.Timeout or context cancellation while reading body)";
    assert_eq!(ask(&target, SHORT).await.unwrap_err(), HttpError::Request(slow.into()));
}

#[tokio::test]
async fn an_endless_body_is_read_up_to_its_limit() {
    let target = server(|mut stream| {
        head(&stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    let answer = ask(&target, LONG).await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, BODY));
}

#[tokio::test]
async fn a_redirect_loop_ends_after_ten_requests() {
    let target = answering("HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n");
    let error = ask(&target, LONG).await.unwrap_err();
    assert_eq!(error.to_string(), "Get \"/again\": stopped after 10 redirects");
}

#[tokio::test]
async fn a_redirect_elsewhere_is_the_answer() {
    let target = answering(
        "HTTP/1.1 302 Found\r\nLocation: http://10.9.9.9/\r\nContent-Length: 4\r\n\r\ngone",
    );
    let answer = ask(&target, LONG).await.unwrap();
    assert_eq!((answer.status, answer.body), (302, b"gone".to_vec()));
}

#[tokio::test]
async fn the_request_is_the_kubelets() {
    let target = server(|mut stream| {
        let text = head(&stream);
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
    });
    let headers = vec![("Host".to_owned(), "me".to_owned()), ("X-A".to_owned(), "1".to_owned())];
    let target = Target { path: "/p?q=1".into(), headers, ..target };
    let answer = ask(&target, LONG).await.unwrap();
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.starts_with("GET /p?q=1 HTTP/1.1\r\n"), "{text}");
    for line in
        ["host: me", "user-agent: kube-probe/1.37", "accept: */*", "connection: close", "x-a: 1"]
    {
        assert!(text.lines().any(|known| known.eq_ignore_ascii_case(line)), "{line}: {text}");
    }
    assert!(!text.to_ascii_lowercase().contains("accept-encoding"), "{text}");
}

#[tokio::test]
async fn a_self_signed_server_is_as_good_as_any() {
    let made = rcgen::generate_simple_self_signed(["fixture".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let config = Arc::new(config);
    let target = server(move |stream| {
        let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, stream);
        head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nhi");
    });
    let target = Target { tls: true, ..target };
    let answer = ask(&target, LONG).await.unwrap();
    assert_eq!((answer.status, answer.body), (201, b"hi".to_vec()));
}

#[tokio::test]
async fn who_speaks_no_tls_is_told_apart() {
    let plain = server(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    });
    let error = ask(&Target { tls: true, ..plain }, LONG).await.unwrap_err();
    assert!(error.is_plain_answer(), "{error}");
    let other = server(|mut stream| {
        let _ = stream.write_all(b"220 mail ready, whatever you say\r\n");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    });
    let why = transport(&Target { tls: true, ..other }, LONG).await;
    assert_eq!(why, "tls: first record does not look like a TLS handshake");
    let mute = Target { tls: true, ..server(drop) };
    let why = transport(&mute, LONG).await;
    assert!(why == "EOF" || why.ends_with("read: connection reset by peer"), "{why}");
}
