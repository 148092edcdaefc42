//! `GET pods/NAME/log`.

use http::{Response, StatusCode};
use jiff::Timestamp;
use klet_api::field::FieldError;
use klet_api::status_error;

use crate::body::{self, Body};
use crate::container;
use crate::error::ApiError;
use crate::hooks::{LogOptions, LogStream};
use crate::query::Query;
use crate::route::Target;
use crate::server::ApiServer;

/// Answers a log request.
pub(crate) async fn answer(
    server: &ApiServer,
    target: &Target,
    query: &Query,
) -> Result<Response<Body>, ApiError> {
    let name = target.name.as_deref().unwrap_or_default();
    let options = options(query, name)?;
    let pod = container::pod(&server.config.store, target)?;
    let container = container::choose(&pod, query.get("container"))?;
    let place = server.stream_place()?;
    let stream = server.config.node.logs(pod, container, options).await;
    let stream = stream.map_err(|error| ApiError::new(error.code, &error.reason, error.message))?;
    Ok(body::typed(StatusCode::OK, "text/plain", body::streamed_with(stream, place)))
}

/// `PodLogOptions`, checked as `ValidatePodLogOptions` does.
fn options(query: &Query, name: &str) -> Result<LogOptions, ApiError> {
    let mut errors = Vec::new();
    let mut at_least = |field: &str, least: i64, text: &str| {
        let number = query.number(field)?;
        if let Some(number) = number.filter(|number| *number < least) {
            errors.push(FieldError::invalid(field, number, text));
        }
        Ok::<_, ApiError>(number)
    };
    let tail_lines = at_least("tailLines", 0, "must be greater than or equal to 0")?;
    let limit_bytes = at_least("limitBytes", 1, "must be greater than 0")?;
    let since_seconds = at_least("sinceSeconds", 1, "must be greater than 0")?;
    let since_time = time(query)?;
    if since_seconds.is_some() && since_time.is_some() {
        let text = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        errors.push(FieldError::forbidden("", text));
    }
    let stream = match query.get("stream") {
        None | Some("All") => LogStream::All,
        Some("Stdout") => LogStream::Stdout,
        Some("Stderr") => LogStream::Stderr,
        Some(other) => {
            errors.push(FieldError::not_supported("stream", other, &["All", "Stderr", "Stdout"]));
            LogStream::All
        }
    };
    if stream != LogStream::All && tail_lines.is_some() {
        let text = "`tailLines` and specific `stream` are mutually exclusive for now";
        errors.push(FieldError::forbidden("", text));
    }
    if !errors.is_empty() {
        return Err(status_error::invalid("", "PodLogOptions", name, &errors).into());
    }
    let positive = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
    Ok(LogOptions {
        follow: query.flag("follow")?,
        previous: query.flag("previous")?,
        since_seconds,
        since_time,
        timestamps: query.flag("timestamps")?,
        tail_lines: positive(tail_lines),
        limit_bytes: positive(limit_bytes),
        stream,
    })
}

fn time(query: &Query) -> Result<Option<Timestamp>, ApiError> {
    let Some(text) = query.get("sinceTime") else { return Ok(None) };
    let bad = |_| ApiError::bad_request(format!("sinceTime: {text:?} is no RFC 3339 time"));
    text.parse().map(Some).map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::{LogOptions, LogStream, options};
    use crate::query::Query;

    fn parse(query: &str) -> Result<LogOptions, String> {
        options(&Query::parse(Some(query)).unwrap(), "p").map_err(|error| error.to_string())
    }

    #[test]
    fn all_options_are_read() {
        let options =
            parse("follow=true&previous=1&sinceSeconds=5&timestamps=true&tailLines=0&limitBytes=7");
        let expected = LogOptions {
            follow: true,
            previous: true,
            since_seconds: Some(5),
            since_time: None,
            timestamps: true,
            tail_lines: Some(0),
            limit_bytes: Some(7),
            stream: LogStream::All,
        };
        assert_eq!(options, Ok(expected));
    }

    #[test]
    fn refusals_are_those_of_kubernetes() {
        let cases = [
            ("tailLines=-1", "tailLines: Invalid value: -1: must be greater than or equal to 0"),
            ("limitBytes=0", "limitBytes: Invalid value: 0: must be greater than 0"),
            ("sinceSeconds=0", "sinceSeconds: Invalid value: 0: must be greater than 0"),
            (
                "sinceSeconds=1&sinceTime=2026-01-02T03:04:05Z",
                "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified",
            ),
        ];
        for (query, expected) in cases {
            let error = parse(query).unwrap_err();
            assert!(error.starts_with("PodLogOptions \"p\" is invalid: "), "{error}");
            assert!(error.ends_with(expected), "{error}");
        }
        assert!(parse("tailLines=many").is_err());
        assert!(parse("sinceTime=yesterday").is_err());
        assert!(parse("stream=Stdout&tailLines=1").is_err());
    }
}
