//! Tests of names.

use super::*;

fn ok(check: fn(&str) -> Vec<String>, texts: &[&str]) {
    for text in texts {
        assert_eq!(check(text), Vec::<String>::new(), "{text:?}");
    }
}

fn bad(check: fn(&str) -> Vec<String>, cases: &[(&str, &str)]) {
    for (text, start) in cases {
        let complaints = check(text);
        assert!(complaints.iter().any(|c| c.starts_with(start)), "{text:?}: {complaints:?}");
    }
}

#[test]
fn labels_and_subdomains() {
    ok(dns_label, &["a", "a-b", "0", &"x".repeat(63)]);
    bad(
        dns_label,
        &[
            ("", "a lowercase RFC 1123 label"),
            ("A", "a lowercase RFC 1123 label"),
            ("-a", "a lowercase RFC 1123 label"),
            ("a.b", "must not contain dots"),
            (&"x".repeat(64), "must be no more than 63 characters"),
        ],
    );
    ok(dns_subdomain, &["a", "a.b-c.d", "1.2"]);
    bad(
        dns_subdomain,
        &[("a..b", "a lowercase RFC 1123 subdomain"), ("a_b", "a lowercase RFC 1123 subdomain")],
    );
    ok(dns_1035_label, &["svc-1"]);
    bad(dns_1035_label, &[("1svc", "a DNS-1035 label")]);
    ok(dns_search_domain, &["_tcp.example.com"]);
}

#[test]
fn qualified_names_and_label_values() {
    ok(qualified_name, &["a", "A.b_c-d", "example.com/Name"]);
    bad(
        qualified_name,
        &[
            ("", "name part must be non-empty"),
            ("a/b/c", "a qualified name must consist of"),
            ("/a", "prefix part must be non-empty"),
            ("EX/a", "prefix part a lowercase RFC 1123 subdomain"),
            ("a b", "name part must consist of"),
            (&"x".repeat(64), "name part must be no more than 63 characters"),
        ],
    );
    ok(label_value, &["", "A_1.b"]);
    bad(
        label_value,
        &[("-", "a valid label must be"), (&"x".repeat(64), "must be no more than 63")],
    );
}

#[test]
fn keys_variables_headers_and_ports() {
    ok(config_key, &["a", ".hidden", "A-b_c.d"]);
    bad(
        config_key,
        &[
            ("", "a valid config key"),
            (".", "must not be '.'"),
            ("..", "must not be '..'"),
            ("..a", "must not start"),
        ],
    );
    ok(env_name, &["A", "1 odd name!"]);
    bad(
        env_name,
        &[
            ("", "environment variable name must be non-empty"),
            ("a=b", "a valid environment"),
            ("é", "a valid"),
        ],
    );
    ok(http_header, &["X-Header-1"]);
    bad(http_header, &[("", "a valid HTTP header"), ("a b", "a valid HTTP header")]);
    ok(port_name, &["http", "p-8080"]);
    bad(
        port_name,
        &[
            ("", "must contain only"),
            ("80", "must contain at least one letter"),
            ("a--b", "must not contain consecutive hyphens"),
            ("-a", "must not begin or end"),
            ("sixteen-letters-", "must be no more than 15"),
        ],
    );
    ok(ip_address, &["10.0.0.1", "2001:db8::1"]);
    bad(ip_address, &[("1.2.3", "must be a valid IP"), ("01.2.3.4", "must be a valid IP")]);
    assert!(
        port_number(0).len() == 1 && port_number(65536).len() == 1 && port_number(1).is_empty()
    );
    assert!(user_id(-1).len() == 1 && user_id(2_147_483_648).len() == 1 && user_id(0).is_empty());
}

#[test]
fn generated_names_fit_a_label() {
    assert_eq!(generate_name("web-", [0, 1, 26, 27, 255]), "web-bc9bq");
    let long = generate_name(&"é".repeat(60), [0; SUFFIX_LEN]);
    assert!(long.len() <= 63 && long.ends_with("bbbbb"));
}
