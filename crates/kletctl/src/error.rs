//! What can go wrong, in kubectl's words.

use std::io;
use std::path::PathBuf;

use serde_json::Value;

/// The result of a command.
pub(crate) type Result<T = (), E = Error> = std::result::Result<T, E>;

/// Why a command failed. Display is the line the user sees.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nobody answers on the socket.
    #[error(
        "kletd is not running (no answer on {}): start it with `kletd` as root, \
         or `systemctl start kletd`", socket.display()
    )]
    NotRunning { socket: PathBuf },
    /// The socket is there, but not for this user.
    #[error("no permission to use {}: run kletctl as root", socket.display())]
    NotAllowed { socket: PathBuf },
    /// The connection broke.
    #[error("connection to kletd lost: {0}")]
    Connection(String),
    /// The server refused.
    #[error("{0}")]
    Status(Box<Status>),
    /// The user's mistake, or anything else that is one line.
    #[error("error: {0}")]
    Plain(String),
    /// A text that stands for itself.
    #[error("{0}")]
    Verbatim(String),
    /// Several objects failed; each is printed.
    #[error("{}", join(.0))]
    Many(Vec<Error>),
    /// A file.
    #[error("error: {}: {cause}", path.display())]
    File { path: PathBuf, cause: io::Error },
    /// Standard output or input.
    #[error("error: {0}")]
    Stdio(#[from] io::Error),
    /// A command run in a container ended with this exit code.
    #[error("command terminated with exit code {0}")]
    Exit(i32),
    /// A signal asked us to stop.
    #[error("stopped by signal {0}")]
    Stopped(i32),
}

impl Error {
    /// The exit code of the process.
    pub(crate) fn exit_code(&self) -> i32 {
        match self {
            Error::Exit(code) => *code,
            Error::Stopped(signal) => 128 + signal,
            // As if SIGPIPE had ended us, which is what a shell expects of `| head`.
            Error::Stdio(cause) if cause.kind() == io::ErrorKind::BrokenPipe => 141,
            _ => 1,
        }
    }

    /// Whether there is nothing to print.
    pub(crate) fn is_silent(&self) -> bool {
        match self {
            Error::Stopped(_) => true,
            Error::Stdio(cause) => cause.kind() == io::ErrorKind::BrokenPipe,
            _ => false,
        }
    }

    /// Whether the server said that the object does not exist.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Error::Status(status) if status.reason() == "NotFound")
    }

    /// Whether the server does not even know the kind of object.
    pub(crate) fn is_unknown_resource(&self) -> bool {
        matches!(self, Error::Status(status) if status.reason() == "NotFound"
            && status.body.pointer("/details/name").is_none())
    }

    /// Whether a watch cannot go on from where it was: list again.
    pub(crate) fn is_expired(&self) -> bool {
        matches!(self, Error::Status(status) if matches!(status.reason(), "Expired" | "Gone"))
    }

    /// Says what was being done when the server refused: `error when creating "pod.yaml"`.
    pub(crate) fn during(self, what: &str) -> Error {
        match self {
            Error::Status(mut status) => {
                status.during = Some(what.to_owned());
                Error::Status(status)
            }
            other => other,
        }
    }
}

/// One error, or all of them.
pub(crate) fn all_or_first(mut errors: Vec<Error>) -> Result {
    match errors.len() {
        0 => Ok(()),
        1 => Err(errors.remove(0)),
        _ => Err(Error::Many(errors)),
    }
}

/// Shorthand for a one-line error.
pub(crate) fn plain<T>(text: impl Into<String>) -> Result<T> {
    Err(Error::Plain(text.into()))
}

fn join(errors: &[Error]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// A `meta.k8s.io/v1 Status` that says no.
#[derive(Debug)]
pub(crate) struct Status {
    body: Value,
    during: Option<String>,
    /// Notes printed below, such as the place in the file of each wrong field.
    pub(crate) notes: Vec<String>,
}

impl Status {
    /// From an error response; a body that is no Status becomes its message.
    pub(crate) fn from_response(code: u16, body: &[u8]) -> Self {
        let value: Option<Value> = serde_json::from_slice(body).ok();
        let body = value.filter(|value| value["kind"] == "Status").unwrap_or_else(|| {
            let text = String::from_utf8_lossy(body).trim().to_owned();
            let (reason, message) = match code {
                404 if text.is_empty() || text == "404 page not found" => {
                    ("NotFound", "the server could not find the requested resource".to_owned())
                }
                404 => ("NotFound", text),
                _ if text.is_empty() => ("", format!("the server answered with HTTP {code}")),
                _ => ("", text),
            };
            serde_json::json!({"kind": "Status", "reason": reason, "message": message, "code": code})
        });
        Self::new(body)
    }

    /// From a Status object, as a watch delivers it.
    pub(crate) fn new(body: Value) -> Self {
        Status { body, during: None, notes: Vec::new() }
    }

    pub(crate) fn reason(&self) -> &str {
        self.body["reason"].as_str().unwrap_or("")
    }

    pub(crate) fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or("unknown error")
    }

    /// The fields that the server found wrong.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &str> {
        self.causes().iter().filter_map(|cause| cause["field"].as_str())
    }

    fn causes(&self) -> &[Value] {
        let causes = self.body.pointer("/details/causes").and_then(Value::as_array);
        causes.map_or(&[], Vec::as_slice)
    }

    /// `The Pod "x" is invalid: ...`: the texts of the causes, one per line if several.
    fn invalid(&self) -> Option<String> {
        let details = self.body.get("details")?;
        let mut head = match (details["kind"].as_str(), details["name"].as_str()) {
            (Some(kind), Some(name)) => format!("The {kind} \"{name}\" is invalid"),
            (Some(kind), None) => format!("The {kind} is invalid"),
            _ => "The request is invalid".to_owned(),
        };
        let mut causes: Vec<String> = Vec::new();
        for cause in self.causes() {
            let text = |key: &str| cause[key].as_str().unwrap_or("").to_owned();
            let line = match text("field") {
                field if field.is_empty() => text("message"),
                field => format!("{field}: {}", text("message")),
            };
            if !causes.contains(&line) {
                causes.push(line);
            }
        }
        match causes.as_slice() {
            [] => head = format!("{head}: {}", self.message()),
            [one] => head = format!("{head}: {one}"),
            many => {
                head.push_str(": ");
                many.iter().for_each(|line| head.push_str(&format!("\n* {line}")));
            }
        }
        Some(head)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let invalid = if self.reason() == "Invalid" { self.invalid() } else { None };
        match (invalid, self.reason()) {
            (Some(text), _) => f.write_str(&text)?,
            (None, reason) => {
                f.write_str("Error from server")?;
                if !reason.is_empty() {
                    write!(f, " ({reason})")?;
                }
                f.write_str(": ")?;
                if let Some(during) = &self.during {
                    write!(f, "{during}: ")?;
                }
                f.write_str(self.message())?;
            }
        }
        self.notes.iter().try_for_each(|note| write!(f, "\n{note}"))
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Error::Status(Box::new(status))
    }
}
