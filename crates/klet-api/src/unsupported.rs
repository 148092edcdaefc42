//! What Kubernetes knows and klet does not run: one table, so that every refusal names the field
//! and says so in the same words.

use crate::field::{ErrorList, FieldError, Path};
use crate::k8s_openapi::api::core::v1::Volume;

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
            errors.push(FieldError::forbidden(at, "klet does not support this volume type"));
        }
    }
}
