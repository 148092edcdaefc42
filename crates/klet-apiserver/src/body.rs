//! Response bodies: whole or streamed, behind one type.

use std::convert::Infallible;
use std::error::Error;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use http::{Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::error::ApiError;

/// The error of a body that ends early.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Any response body.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Bytes as they come; the stream ends when the sender is dropped.
pub type ByteStream = mpsc::Receiver<Bytes>;

/// A body that is there already.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// A body that is sent as it comes. Dropping the body drops the receiver, which its
/// sender sees: that is how a vanished client stops the work done for it.
#[must_use]
pub fn streamed(receiver: ByteStream) -> Body {
    streamed_with(receiver, ())
}

/// The same, holding something until the body is dropped.
pub(crate) fn streamed_with<G: Send + 'static>(receiver: ByteStream, guard: G) -> Body {
    let frames = stream::unfold((receiver, guard), |(mut receiver, guard)| async {
        let bytes = receiver.recv().await?;
        Some((bytes, (receiver, guard)))
    });
    StreamBody::new(frames.map(|bytes| Ok::<_, BoxError>(Frame::data(bytes)))).boxed_unsync()
}

/// A JSON response.
pub fn json(code: StatusCode, value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(mut bytes) => {
            bytes.push(b'\n');
            typed(code, "application/json", full(bytes))
        }
        Err(error) => {
            tracing::error!(%error, "response does not serialise");
            typed(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", full("response unprintable\n"))
        }
    }
}

/// A plain text response.
pub fn text(code: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    typed(code, "text/plain", full(text))
}

/// A `Status` response.
#[must_use]
pub fn failure(error: &ApiError) -> Response<Body> {
    json(error.code(), &*error.0)
}

/// A response with a content type.
pub fn typed(code: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let value = header::HeaderValue::from_static(content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, value);
    response
}
