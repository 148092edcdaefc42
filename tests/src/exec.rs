//! `exec` as kubectl does it: a WebSocket with the subprotocol `v5.channel.k8s.io`.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::{Error, Message, WebSocket};

use crate::{World, patience};

/// A session that is open.
#[derive(Debug)]
pub struct Exec {
    socket: WebSocket<UnixStream>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// How a session ended.
#[derive(Debug)]
pub struct ExecEnd {
    pub code: i64,
    pub stdout: String,
    pub stderr: String,
    /// The final Status.
    pub status: Value,
}

impl World {
    /// Runs a command in the first container of a pod to its end.
    ///
    /// # Errors
    /// The API refuses it.
    pub fn execute(&self, pod: &str, command: &[&str]) -> anyhow::Result<ExecEnd> {
        self.open_exec(pod, command, false)?.end()
    }

    /// Starts a command in the first container of a pod; stdin is open.
    ///
    /// # Errors
    /// The API refuses it.
    pub fn open_exec(&self, pod: &str, command: &[&str], tty: bool) -> anyhow::Result<Exec> {
        let stream = UnixStream::connect(self.path("run/klet.sock"))?;
        stream.set_read_timeout(Some(patience()))?;
        let words: String =
            command.iter().map(|word| format!("&command={}", encode(word))).collect();
        let stderr = if tty { "" } else { "&stderr=true" };
        let url = format!(
            "ws://klet/api/v1/namespaces/default/pods/{pod}/exec?stdin=true&stdout=true&tty={tty}{stderr}{words}"
        );
        let mut request = url.into_client_request()?;
        let protocol = HeaderValue::from_static("v5.channel.k8s.io");
        request.headers_mut().insert("Sec-WebSocket-Protocol", protocol);
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(Exec { socket, stdout: Vec::new(), stderr: Vec::new() }),
            Err(tungstenite::HandshakeError::Failure(Error::Http(response))) => {
                let body = response.body().as_deref().unwrap_or_default();
                bail!("{} {}", response.status(), String::from_utf8_lossy(body))
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Exec {
    /// Types on the session's stdin.
    ///
    /// # Errors
    /// The session is over.
    pub fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.socket.send(Message::Binary([&[0], bytes].concat().into()))?)
    }

    /// Sets the size of the session's terminal.
    ///
    /// # Errors
    /// The session is over.
    pub fn resize(&mut self, width: u16, height: u16) -> anyhow::Result<()> {
        let size = format!("\u{4}{{\"Width\":{width},\"Height\":{height}}}");
        Ok(self.socket.send(Message::Binary(size.into_bytes().into()))?)
    }

    /// Waits until the session has said something on stdout.
    ///
    /// # Errors
    /// It ends before, or does not say it in time.
    pub fn until_says(&mut self, text: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience();
        while !String::from_utf8_lossy(&self.stdout).contains(text) {
            ensure!(Instant::now() < deadline, "never said: {text}");
            if let Some(status) = self.step()? {
                bail!("ended before it said {text:?}: {status} {:?}", self.stdout);
            }
        }
        Ok(())
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// The session breaks off without telling how it ended.
    pub fn end(mut self) -> anyhow::Result<ExecEnd> {
        let status = loop {
            if let Some(status) = self.step()? {
                break status;
            }
        };
        let cause = &status["details"]["causes"][0]["message"];
        let code = match (status["status"].as_str(), cause.as_str()) {
            (Some("Success"), _) => 0,
            (_, Some(code)) => code.parse().unwrap_or(-1),
            _ => -1,
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(ExecEnd { code, stdout: text(&self.stdout), stderr: text(&self.stderr), status })
    }

    /// Takes one message; the final Status if it was that.
    fn step(&mut self) -> anyhow::Result<Option<Value>> {
        match self.socket.read() {
            Ok(Message::Binary(data)) => match data.split_first() {
                Some((1, bytes)) => self.stdout.extend_from_slice(bytes),
                Some((2, bytes)) => self.stderr.extend_from_slice(bytes),
                Some((3, bytes)) => return Ok(Some(serde_json::from_slice(bytes)?)),
                _ => {}
            },
            Ok(_) => {}
            Err(Error::Io(error)) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("the session broke off"),
        }
        Ok(None)
    }

    /// Goes away without a word, as a client that was killed.
    ///
    /// # Errors
    /// There is none.
    pub fn vanish(self) -> anyhow::Result<()> {
        self.socket.get_ref().set_write_timeout(Some(Duration::from_secs(1)))?;
        self.socket.get_ref().shutdown(std::net::Shutdown::Both)?;
        Ok(())
    }
}

fn encode(word: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    word.bytes().map(byte).collect()
}
