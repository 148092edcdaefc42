//! The daemon's API over its socket: one request per connection, and watches.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

/// How long an answer or an event may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where the daemon listens.
#[derive(Debug, Clone)]
pub struct Api {
    pub socket: PathBuf,
}

impl Api {
    /// Sends a request and reads the head of the answer.
    fn open(&self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<Body> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: klet\r\nConnection: close\r\nAccept: application/json\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        stream.write_all(&request)?;
        let mut reader = BufReader::new(stream);
        let (mut status, mut chunked) = (String::new(), false);
        reader.read_line(&mut status)?;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            if line.trim().is_empty() {
                break;
            }
            chunked |= line.to_ascii_lowercase().starts_with("transfer-encoding: chunked");
        }
        let mut body = Body { reader, left: if chunked { Some(0) } else { None } };
        if !status.split(' ').nth(1).unwrap_or_default().starts_with('2') {
            let mut text = String::new();
            let _ = body.read_to_string(&mut text);
            bail!("{method} {path}: {} {text}", status.trim());
        }
        Ok(body)
    }

    /// One request and its JSON answer.
    ///
    /// # Errors
    /// No connection, or an error status.
    pub fn request(&self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<Value> {
        let mut text = String::new();
        self.open(method, path, body)?.read_to_string(&mut text)?;
        Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Creates a pod in the default namespace; returns when the API has answered.
    ///
    /// # Errors
    /// The API refuses it.
    pub fn create(&self, pod: &Value) -> anyhow::Result<Value> {
        self.request("POST", "/api/v1/namespaces/default/pods", pod.to_string().as_bytes())
    }

    /// Asks for the deletion of a pod.
    ///
    /// # Errors
    /// The API refuses it.
    pub fn delete(&self, name: &str) -> anyhow::Result<Value> {
        self.request("DELETE", &format!("/api/v1/namespaces/default/pods/{name}"), b"")
    }

    /// Follows the pods of the default namespace from now on.
    ///
    /// # Errors
    /// No connection.
    pub fn watch(&self) -> anyhow::Result<Watch> {
        let path = "/api/v1/namespaces/default/pods";
        let list = self.request("GET", path, b"")?;
        let version = list["metadata"]["resourceVersion"].as_str().context("no version")?;
        let path = format!("{path}?watch=true&resourceVersion={version}");
        Ok(Watch(BufReader::new(self.open("GET", &path, b"")?)))
    }
}

/// A stream of watch events.
pub struct Watch(BufReader<Body>);

impl Watch {
    /// Reads events until one fits.
    ///
    /// # Errors
    /// The stream ends, or nothing comes for two minutes.
    pub fn until(&mut self, mut fits: impl FnMut(&Value) -> bool) -> anyhow::Result<Value> {
        loop {
            let mut line = String::new();
            ensure!(self.0.read_line(&mut line)? > 0, "the watch ended");
            let event = serde_json::from_str(&line)?;
            if fits(&event) {
                return Ok(event);
            }
        }
    }

    /// Waits until a pod is in a phase.
    ///
    /// # Errors
    /// As [`Self::until`].
    pub fn until_phase(&mut self, name: &str, phase: &str) -> anyhow::Result<Value> {
        self.until(|event| is_about(event, name) && event["object"]["status"]["phase"] == phase)
    }

    /// Waits until so many pods have been seen running.
    ///
    /// # Errors
    /// As [`Self::until`].
    pub fn until_running(&mut self, count: usize) -> anyhow::Result<()> {
        let mut running = BTreeSet::new();
        while running.len() < count {
            let event = self.until(|event| event["object"]["status"]["phase"] == "Running")?;
            running.insert(event["object"]["metadata"]["name"].to_string());
        }
        Ok(())
    }

    /// Waits until a pod's object is gone.
    ///
    /// # Errors
    /// As [`Self::until`].
    pub fn until_deleted(&mut self, name: &str) -> anyhow::Result<Value> {
        self.until(|event| is_about(event, name) && event["type"] == "DELETED")
    }
}

fn is_about(event: &Value, name: &str) -> bool {
    event["object"]["metadata"]["name"] == name
}

/// An answer's body; `left` counts down the present chunk of a chunked one.
struct Body {
    reader: BufReader<UnixStream>,
    left: Option<usize>,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let Some(mut left) = self.left else { return self.reader.read(buffer) };
        while left == 0 {
            let mut line = String::new();
            self.reader.read_line(&mut line)?;
            match line.trim() {
                "" if line.is_empty() => return Ok(0),
                "" => continue,
                "0" => return Ok(0),
                size => {
                    left = usize::from_str_radix(size, 16).map_err(std::io::Error::other)?;
                }
            }
        }
        let room = left.min(buffer.len());
        let count = self.reader.read(&mut buffer[..room])?;
        self.left = Some(left - count);
        Ok(count)
    }
}
