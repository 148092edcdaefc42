//! Where a request goes: from the pod's spec, or from a redirect.

use std::net::IpAddr;

use klet_api::Container;
use klet_api::k8s_openapi::api::core::v1::HTTPGetAction;
use klet_api::k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::HttpError;

/// Where to send a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub tls: bool,
    pub host: String,
    pub port: u16,
    /// Path and query, percent-encoded.
    pub path: String,
    pub headers: Vec<(String, String)>,
}

impl Target {
    /// # Errors
    /// A port name that the container does not have, or no address.
    pub fn of(
        action: &HTTPGetAction,
        container: Option<&Container>,
        ip: Option<IpAddr>,
    ) -> Result<Self, HttpError> {
        let given = action.host.clone().filter(|host| !host.is_empty());
        let host = given.or_else(|| ip.map(|ip| ip.to_string()));
        let headers = action.http_headers.iter().flatten();
        Ok(Self {
            tls: action
                .scheme
                .as_deref()
                .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
            host: host.ok_or_else(|| HttpError::Request("the pod has no address".to_owned()))?,
            port: port(&action.port, container)?,
            path: encode(action.path.as_deref().unwrap_or("/")),
            headers: headers.map(|header| (header.name.clone(), header.value.clone())).collect(),
        })
    }

    /// Host and port, as a URL has them.
    #[must_use]
    pub fn authority(&self) -> String {
        join(&self.host, self.port)
    }

    /// The whole URL.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority(), self.path)
    }

    /// Where a redirect leads, if it stays on the same host (RFC 3986, section 5.2).
    pub(super) fn redirect(&self, location: &str) -> Option<Self> {
        let mut next = self.clone();
        let location = location.split('#').next().unwrap_or_default();
        let absolute = match location.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => Some((false, rest)),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => Some((true, rest)),
            Some(_) => return None,
            None => location.strip_prefix("//").map(|rest| (self.tls, rest)),
        };
        if let Some((tls, rest)) = absolute {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let authority: http::uri::Authority = rest[..end].parse().ok()?;
            if authority.host().trim_start_matches('[').trim_end_matches(']') != self.host {
                return None;
            }
            next.tls = tls;
            next.port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
            next.path = encode(&rest[end..]);
            next.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("host"));
            return Some(next);
        }
        let old = self.path.split('?').next().unwrap_or_default();
        next.path = if location.starts_with('/') {
            encode(location)
        } else if location.starts_with('?') {
            encode(&format!("{old}{location}"))
        } else {
            let directory = &old[..old.rfind('/').map_or(0, |slash| slash + 1)];
            encode(&without_dots(&format!("{directory}{location}")))
        };
        Some(next)
    }
}

/// `host:port`, with the brackets that an IPv6 address needs.
#[must_use]
pub fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A path as it may stand in a request: what may not is percent-encoded, a fragment is left out.
fn encode(path: &str) -> String {
    let path = path.split('#').next().unwrap_or_default();
    let mut encoded = String::with_capacity(path.len() + 1);
    if !path.starts_with('/') {
        encoded.push('/');
    }
    for byte in path.bytes() {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Resolves `.` and `..` in the path before a query.
fn without_dots(reference: &str) -> String {
    let (path, query) = reference.split_once('?').unwrap_or((reference, ""));
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').skip(1) {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    let path = format!("/{}", parts.join("/"));
    if query.is_empty() { path } else { format!("{path}?{query}") }
}

/// A port number, or the number of a named port of the same container.
///
/// # Errors
/// Go's words for a number that does not parse or is out of range.
pub fn port(port: &IntOrString, container: Option<&Container>) -> Result<u16, HttpError> {
    let number = match port {
        IntOrString::Int(number) => i64::from(*number),
        IntOrString::String(name) => {
            let named = container
                .iter()
                .flat_map(|container| container.ports.iter().flatten())
                .find(|port| port.name.as_deref() == Some(name))
                .map(|port| i64::from(port.container_port));
            match named {
                Some(number) => number,
                None => name.parse().map_err(|_| {
                    HttpError::Request(format!("strconv.Atoi: parsing {name:?}: invalid syntax"))
                })?,
            }
        }
    };
    u16::try_from(number)
        .ok()
        .filter(|number| *number > 0)
        .ok_or_else(|| HttpError::Request(format!("invalid port number: {number}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_by_number_and_name() {
        use klet_api::k8s_openapi::api::core::v1::ContainerPort;
        let port_named =
            ContainerPort { name: Some("web".into()), container_port: 8080, ..Default::default() };
        let container = Container { ports: Some(vec![port_named]), ..Default::default() };
        let text = |name: &str| port(&IntOrString::String(name.into()), Some(&container));
        assert_eq!(text("web"), Ok(8080));
        assert_eq!(text("81"), Ok(81));
        let message = text("nope").unwrap_err().to_string();
        assert_eq!(message, "strconv.Atoi: parsing \"nope\": invalid syntax");
        let zero = port(&IntOrString::Int(0), None).unwrap_err();
        assert_eq!(zero.to_string(), "invalid port number: 0");
    }

    #[test]
    fn only_redirects_to_the_same_host_are_followed() {
        let from = Target {
            tls: false,
            host: "10.0.0.1".into(),
            port: 8080,
            path: "/a/b?q".into(),
            headers: vec![("Host".into(), "me".into())],
        };
        let url = |location: &str| from.redirect(location).map(|target| target.url());
        for (location, leads_to) in [
            ("/next?x=1", "http://10.0.0.1:8080/next?x=1"),
            ("next", "http://10.0.0.1:8080/a/next"),
            ("../up", "http://10.0.0.1:8080/up"),
            ("?y", "http://10.0.0.1:8080/a/b?y"),
            ("http://10.0.0.1:81/a", "http://10.0.0.1:81/a"),
            ("https://10.0.0.1", "https://10.0.0.1:443/"),
            ("//10.0.0.1:82/x#top", "http://10.0.0.1:82/x"),
        ] {
            assert_eq!(url(location).as_deref(), Some(leads_to), "{location}");
        }
        for elsewhere in ["http://example.com/", "//10.0.0.2/", "ftp://10.0.0.1/"] {
            assert_eq!(url(elsewhere), None, "{elsewhere}");
        }
        assert_eq!(from.redirect("/x").unwrap().headers.len(), 1);
        assert_eq!(from.redirect("http://10.0.0.1/x").unwrap().headers.len(), 0);
    }

    #[test]
    fn paths_are_encoded_as_they_must_be() {
        assert_eq!(encode("a b#c"), "/a%20b");
        assert_eq!(encode("/x?y=%20&z=ü"), "/x?y=%20&z=%C3%BC");
    }

    #[test]
    fn an_ipv6_host_is_bracketed() {
        let target =
            Target { tls: true, host: "::1".into(), port: 8, path: "/".into(), headers: vec![] };
        assert_eq!(target.url(), "https://[::1]:8/");
    }
}
