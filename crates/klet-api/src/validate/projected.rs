//! Projected volumes.

use std::collections::BTreeSet;

use super::{text, volume};
use crate::field::{ErrorList, FieldError, Path};
use crate::k8s_openapi::api::core::v1::{
    KeyToPath, PodSpec, ProjectedVolumeSource, ServiceAccountTokenProjection, VolumeProjection,
};
use crate::unsupported;

const TOKEN_MIN_SECONDS: i64 = 600;
const TOKEN_MAX_SECONDS: i64 = 1 << 32;

pub(super) fn check(
    errors: &mut ErrorList,
    projected: &ProjectedVolumeSource,
    spec: &PodSpec,
    path: &Path<'_>,
) {
    volume::mode(errors, projected.default_mode, path.child("defaultMode"));
    let mut targets = Targets { seen: BTreeSet::new(), path };
    let sources = path.child("sources");
    for (i, source) in projected.sources.iter().flatten().enumerate() {
        let at = sources.index(i);
        let mut kinds = usize::from(unsupported::check_projection(errors, source, &at));
        kinds += check_source(errors, source, &mut targets, &at);
        if let Some(token) = &source.service_account_token {
            kinds += 1;
            check_token(errors, token, spec, &at.child("serviceAccountToken"));
            targets.add(errors, &token.path, &token.path);
        }
        if kinds > 1 {
            errors.push(FieldError::forbidden(
                at,
                "may not specify more than 1 volume type per source",
            ));
        }
    }
}

/// Target paths used so far; a second use is an error of the whole volume.
struct Targets<'a> {
    seen: BTreeSet<String>,
    path: &'a Path<'a>,
}

impl Targets<'_> {
    fn add(&mut self, errors: &mut ErrorList, target: &str, blame: &str) {
        if !target.is_empty() && !self.seen.insert(target.to_owned()) {
            errors.push(FieldError::invalid(self.path, blame, "conflicting duplicate paths"));
        }
    }

    fn add_items(&mut self, errors: &mut ErrorList, items: &Option<Vec<KeyToPath>>, blame: &str) {
        for item in items.iter().flatten() {
            self.add(errors, &item.path, blame);
        }
    }
}

/// Checks the object-like sources and returns how many there are.
fn check_source(
    errors: &mut ErrorList,
    source: &VolumeProjection,
    targets: &mut Targets<'_>,
    at: &Path<'_>,
) -> usize {
    let mut kinds = 0;
    let objects = [
        ("secret", source.secret.as_ref().map(|s| (&s.name, &s.items))),
        ("configMap", source.config_map.as_ref().map(|c| (&c.name, &c.items))),
    ];
    for (field, object) in objects {
        let Some((name, items)) = object else { continue };
        kinds += 1;
        let path = at.child(field);
        if name.is_empty() {
            errors.push(FieldError::required(path.child("name"), ""));
        }
        volume::items(errors, items.as_deref().unwrap_or_default(), &path.child("items"));
        targets.add_items(errors, items, name);
    }
    if let Some(downward) = &source.downward_api {
        kinds += 1;
        let path = at.child("downwardAPI");
        for file in downward.items.iter().flatten() {
            volume::downward_file(errors, file, &path);
            targets.add(errors, &file.path, &file.path);
        }
    }
    kinds
}

fn check_token(
    errors: &mut ErrorList,
    token: &ServiceAccountTokenProjection,
    spec: &PodSpec,
    path: &Path<'_>,
) {
    if text(spec.service_account_name.as_ref()).is_empty() {
        let why = "must not be specified when serviceAccountName is not set";
        errors.push(FieldError::forbidden(path, why));
    }
    let seconds = token.expiration_seconds.unwrap_or(3600);
    let at = path.child("expirationSeconds");
    if seconds < TOKEN_MIN_SECONDS {
        errors.push(FieldError::invalid(
            at,
            seconds,
            "may not specify a duration less than 10 minutes",
        ));
    } else if seconds > TOKEN_MAX_SECONDS {
        errors.push(FieldError::invalid(
            at,
            seconds,
            "may not specify a duration larger than 2^32 seconds",
        ));
    }
    if token.path.is_empty() {
        errors.push(FieldError::required(path.child("path"), ""));
    } else {
        volume::local_file_path(errors, &token.path, path.child("path"));
    }
}
