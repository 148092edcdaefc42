//! Requests to the daemon's socket, with the status code of the answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::Value;

/// One request. HTTP/1.0: the answer ends with the connection, and comes in one piece.
///
/// # Errors
/// No connection, an answer that is no HTTP.
pub(crate) fn send(
    socket: &Path,
    method: &str,
    path: &str,
    content_type: &str,
    body: &[u8],
) -> anyhow::Result<(u16, String)> {
    let (code, mut reader) = open(socket, method, path, content_type, body)?;
    let mut answer = Vec::new();
    reader.read_to_end(&mut answer)?;
    Ok((code, String::from_utf8_lossy(&answer).into_owned()))
}

/// As [`send`], with JSON both ways.
///
/// # Errors
/// As [`send`]; the answer is no JSON.
pub(crate) fn json(
    socket: &Path,
    method: &str,
    path: &str,
    body: &Value,
) -> anyhow::Result<(u16, Value)> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (code, text) = send(socket, method, path, "application/json", body.as_bytes())?;
    let value = serde_json::from_str(&text);
    Ok((code, value.with_context(|| format!("{method} {path}: {code} {text:?}"))?))
}

/// A watch: its lines, one after another, until the connection ends.
///
/// # Errors
/// As [`send`]; the watch is refused.
pub(crate) fn watch(
    socket: &Path,
    path: &str,
) -> anyhow::Result<impl Iterator<Item = Value> + use<>> {
    let (code, reader) = open(socket, "GET", path, "application/json", b"")?;
    ensure!(code == 200, "watch {path}: {code}");
    let lines = reader.lines().map_while(Result::ok);
    Ok(lines.filter_map(|line| serde_json::from_str(&line).ok()))
}

fn open(
    socket: &Path,
    method: &str,
    path: &str,
    content_type: &str,
    body: &[u8],
) -> anyhow::Result<(u16, BufReader<UnixStream>)> {
    let mut stream = UnixStream::connect(socket)
        .with_context(|| format!("cannot connect to {}", socket.display()))?;
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: klet\r\nAccept: application/json\r\n\
         Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let code = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let code = code.with_context(|| format!("{method} {path}: no HTTP answer: {line:?}"))?;
    while reader.read_line(&mut line)? > 0 && !line.ends_with("\r\n\r\n") {}
    Ok((code, reader))
}
