//! Texts without what differs from run to run: ids, addresses, times, names of nodes and images.

/// Node names of the recorded node and of ours.
pub(crate) const NODES: [&str; 2] = ["k8speer", klet_e2e::NODE];

/// `text` with ids, addresses and times replaced by what they are.
pub(crate) fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut token = String::new();
    for c in text.chars().chain(['\0']) {
        if c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':') {
            token.push(c);
            continue;
        }
        out.push_str(&replaced(&token));
        token.clear();
        if c != '\0' {
            out.push(c);
        }
    }
    out
}

fn replaced(token: &str) -> String {
    let body = token.trim_end_matches([':', '.', '-']);
    let tail = &token[body.len()..];
    let kind = if NODES.contains(&body) {
        "NODE"
    } else if is_uuid(body) {
        "UID"
    } else if is_hex(body, 32) {
        "ID"
    } else if let Some(digest) = body.strip_prefix("sha256:")
        && is_hex(digest, 64)
    {
        "DIGEST"
    } else if is_address(body) {
        "IP"
    } else if let Some((host, port)) = body.rsplit_once(':')
        && is_address(host)
        && port.chars().all(|c| c.is_ascii_digit())
    {
        // A port above the well-known ones is drawn by the kernel.
        return if port.len() > 4 { format!("IP:PORT{tail}") } else { format!("IP:{port}{tail}") };
    } else if is_time(body) {
        "TIME"
    } else {
        return token.to_owned();
    };
    format!("{kind}{tail}")
}

fn is_hex(token: &str, least: usize) -> bool {
    token.len() >= least && token.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_uuid(token: &str) -> bool {
    token.len() == 36
        && token.split('-').map(str::len).eq([8, 4, 4, 4, 12])
        && token.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

fn is_address(token: &str) -> bool {
    token.parse::<std::net::Ipv4Addr>().is_ok()
}

/// `2026-11-22T08:33:56.219984794Z`, `08:33`, `08:33:56.2`.
fn is_time(token: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let clock = |text: &str| {
        let parts: Vec<&str> = text.split(':').collect();
        let (whole, last) = parts.split_at(parts.len().saturating_sub(1));
        (2..=3).contains(&parts.len())
            && whole.iter().all(|part| digits(part))
            && last.iter().all(|part| part.split('.').all(digits))
    };
    match token.split_once('T') {
        Some((date, time)) => date.split('-').all(digits) && clock(time.trim_end_matches('Z')),
        None => clock(token),
    }
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn replaces_what_differs_from_run_to_run() {
        let given = "back-off 10s pod=a_oracle(e93f3b30-ac29-4ed2-bf6b-c73896235a03) on k8speer, \
             dial tcp 10.244.0.90:80: read 10.244.0.1:52400->10.244.0.90:80 at 08:33:56 \
             2026-11-22T08:33:56.2Z 9c2809fc5c81e266198bfdf23e72a7cc1c295bc19e61f66c1a835159fbb5efe3";
        let wanted = "back-off 10s pod=a_oracle(UID) on NODE, dial tcp IP:80: read IP:PORT->IP:80 \
             at TIME TIME ID";
        assert_eq!(text(given), wanted);
    }

    #[test]
    fn leaves_everything_else_alone() {
        for given in ["exit 7: a.b:c", "10.5 of 12", "4096 drwx", "v1.2.3", "a:80"] {
            assert_eq!(text(given), given);
        }
    }
}
