//! What Kubernetes knows and klet does not run: one table, so that every refusal names the field
//! and says so in the same words.

use crate::field::{ErrorList, FieldError, Path};
use crate::k8s_openapi::api::core::v1::{
    Container, EnvVarSource, GRPCAction, HTTPGetAction, PodSpec, Volume, VolumeMount,
    VolumeProjection,
};

/// A kind of volume: its field name, whether a volume has it, and whether klet runs it.
struct VolumeKind {
    field: &'static str,
    present: fn(&Volume) -> bool,
    supported: bool,
}

macro_rules! volume_kinds {
    ($($field:literal $member:ident $supported:literal;)*) => {
        &[$(VolumeKind { field: $field, present: |v| v.$member.is_some(), supported: $supported }),*]
    };
}

/// All volume kinds, in the order Kubernetes checks them.
const VOLUME_KINDS: &[VolumeKind] = volume_kinds! {
    "emptyDir" empty_dir true;
    "hostPath" host_path true;
    "gitRepo" git_repo false;
    "gcePersistentDisk" gce_persistent_disk false;
    "awsElasticBlockStore" aws_elastic_block_store false;
    "secret" secret true;
    "nfs" nfs false;
    "iscsi" iscsi false;
    "glusterfs" glusterfs false;
    "flocker" flocker false;
    "persistentVolumeClaim" persistent_volume_claim false;
    "rbd" rbd false;
    "cinder" cinder false;
    "cephfs" cephfs false;
    "quobyte" quobyte false;
    "downwardAPI" downward_api true;
    "fc" fc false;
    "flexVolume" flex_volume false;
    "configMap" config_map true;
    "azureFile" azure_file false;
    "vsphereVolume" vsphere_volume false;
    "photonPersistentDisk" photon_persistent_disk false;
    "portworxVolume" portworx_volume false;
    "azureDisk" azure_disk false;
    "storageos" storageos false;
    "scaleIO" scale_io false;
    "projected" projected true;
    "csi" csi false;
    "ephemeral" ephemeral false;
    "image" image false;
};

/// Whether a volume names any source, supported or not.
#[must_use]
pub fn has_source(volume: &Volume) -> bool {
    VOLUME_KINDS.iter().any(|kind| (kind.present)(volume))
}

/// The sources a volume names beyond the first, which Kubernetes forbids, and the sources klet
/// does not run.
pub(crate) fn check_volume_sources(volume: &Volume, path: &Path<'_>, errors: &mut ErrorList) {
    for (i, kind) in VOLUME_KINDS.iter().filter(|kind| (kind.present)(volume)).enumerate() {
        let at = path.child(kind.field);
        if i > 0 {
            errors.push(FieldError::forbidden(at, "may not specify more than 1 volume type"));
        } else if !kind.supported {
            errors.push(FieldError::forbidden(at, refusal("volume type")));
        }
    }
}

/// The words of every refusal.
fn refusal(what: &str) -> String {
    format!("klet does not support this {what}")
}

/// Pushes a refusal for every field that is present.
fn refuse(errors: &mut ErrorList, path: &Path<'_>, what: &str, fields: &[(&str, bool)]) -> bool {
    let mut any = false;
    for (field, present) in fields {
        if *present {
            any = true;
            errors.push(FieldError::forbidden(path.child(field), refusal(what)));
        }
    }
    any
}

fn filled<T>(list: Option<&Vec<T>>) -> bool {
    list.is_some_and(|l| !l.is_empty())
}

/// Pod fields.
pub(crate) fn check_pod(errors: &mut ErrorList, spec: &PodSpec, path: &Path<'_>) {
    let fields = [
        ("resourceClaims", filled(spec.resource_claims.as_ref())),
        ("evictionResponders", filled(spec.eviction_responders.as_ref())),
        ("schedulingGroup", spec.scheduling_group.is_some()),
    ];
    refuse(errors, path, "field", &fields);
    if let Some(context) = &spec.security_context {
        let at = path.child("securityContext");
        refuse(errors, &at, "field", &[("windowsOptions", context.windows_options.is_some())]);
    }
}

/// Container fields.
pub(crate) fn check_container(errors: &mut ErrorList, container: &Container, path: &Path<'_>) {
    refuse(errors, path, "field", &[("volumeDevices", filled(container.volume_devices.as_ref()))]);
    if let Some(resources) = &container.resources {
        let at = path.child("resources");
        refuse(errors, &at, "field", &[("claims", filled(resources.claims.as_ref()))]);
    }
    if let Some(context) = &container.security_context {
        let at = path.child("securityContext");
        refuse(errors, &at, "field", &[("windowsOptions", context.windows_options.is_some())]);
    }
}

/// Fields of a volume mount.
pub(crate) fn check_mount(errors: &mut ErrorList, mount: &VolumeMount, path: &Path<'_>) {
    refuse(
        errors,
        path,
        "field",
        &[("bindMountOptions", filled(mount.bind_mount_options.as_ref()))],
    );
}

/// Sources of a projected volume; returns whether the source is one of the refused.
pub(crate) fn check_projection(
    errors: &mut ErrorList,
    source: &VolumeProjection,
    path: &Path<'_>,
) -> bool {
    let fields = [
        ("clusterTrustBundle", source.cluster_trust_bundle.is_some()),
        ("podCertificate", source.pod_certificate.is_some()),
    ];
    refuse(errors, path, "volume source", &fields)
}

/// Sources of an environment variable; returns whether the source is one of the refused.
pub(crate) fn check_env_source(
    errors: &mut ErrorList,
    source: &EnvVarSource,
    path: &Path<'_>,
) -> bool {
    refuse(errors, path, "source of a value", &[("fileKeyRef", source.file_key_ref.is_some())])
}

/// Fields of an HTTP probe or hook.
pub(crate) fn check_http(errors: &mut ErrorList, http: &HTTPGetAction, path: &Path<'_>) {
    refuse(errors, path, "field", &[("protocol", http.protocol.is_some())]);
}

/// Fields of a gRPC probe.
pub(crate) fn check_grpc(errors: &mut ErrorList, grpc: &GRPCAction, path: &Path<'_>) {
    let encrypted = grpc.mode.as_deref().is_some_and(|mode| mode != "Plaintext");
    refuse(errors, path, "connection mode", &[("mode", encrypted)]);
}
