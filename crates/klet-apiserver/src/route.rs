//! Which path is answered by what.

use http::{Request, Response};
use hyper::body::Incoming;

use crate::body::{self, Body};
use crate::server::ApiServer;

/// Answers one request.
pub(crate) async fn answer(server: &ApiServer, request: Request<Incoming>) -> Response<Body> {
    if request.uri().path().starts_with("/klet/v1/")
        && let Some(extension) = &server.config.extension
    {
        return extension.handle(request).await;
    }
    body::failure(&klet_api::status_error::path_not_found().into())
}
