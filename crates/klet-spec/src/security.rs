//! Capabilities, users and the paths a container must not see.

use std::collections::HashSet;
use std::str::FromStr;

use klet_api::k8s_openapi::api::core::v1::{PodSecurityContext, SecurityContext};
use klet_api::{Container, Pod};
use oci_spec::runtime::{Capabilities, Capability};

use crate::ConfigError;

/// containerd's default set (mask `a80425fb`).
const DEFAULT: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fsetid,
    Capability::Fowner,
    Capability::Mknod,
    Capability::NetRaw,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setfcap,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::SysChroot,
    Capability::Kill,
    Capability::AuditWrite,
];

/// Hidden from containers (`procMount: Default`); what does not exist is skipped.
pub const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Shown read-only.
pub const READ_ONLY: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The container's and the pod's security context, the container's winning.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    container: Option<&'a SecurityContext>,
    pod: Option<&'a PodSecurityContext>,
}

impl<'a> Context<'a> {
    #[must_use]
    pub fn of(pod: &'a Pod, container: &'a Container) -> Self {
        Self {
            container: container.security_context.as_ref(),
            pod: pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref()),
        }
    }

    #[must_use]
    pub fn privileged(self) -> bool {
        self.container.and_then(|c| c.privileged) == Some(true)
    }

    #[must_use]
    pub fn read_only_root(self) -> bool {
        self.container.and_then(|c| c.read_only_root_filesystem) == Some(true)
    }

    /// `no_new_privs`: set only when privilege escalation is refused by name.
    #[must_use]
    pub fn no_new_privileges(self) -> bool {
        self.container.and_then(|c| c.allow_privilege_escalation) == Some(false)
    }

    #[must_use]
    pub fn unmasked_proc(self) -> bool {
        self.container.and_then(|c| c.proc_mount.as_deref()) == Some("Unmasked")
    }

    #[must_use]
    pub fn run_as_user(self) -> Option<i64> {
        self.container.and_then(|c| c.run_as_user).or(self.pod.and_then(|p| p.run_as_user))
    }

    #[must_use]
    pub fn run_as_group(self) -> Option<i64> {
        self.container.and_then(|c| c.run_as_group).or(self.pod.and_then(|p| p.run_as_group))
    }

    fn run_as_non_root(self) -> bool {
        self.container
            .and_then(|c| c.run_as_non_root)
            .or(self.pod.and_then(|p| p.run_as_non_root))
            .unwrap_or(false)
    }

    /// The pod's supplementary groups, `fsGroup` last.
    #[must_use]
    pub fn groups(self) -> Vec<u32> {
        let Some(pod) = self.pod else { return Vec::new() };
        let wanted = pod.supplemental_groups.iter().flatten().copied().chain(pod.fs_group);
        wanted.filter_map(|gid| u32::try_from(gid).ok()).collect()
    }

    /// Whether the image's own groups of the user are merged in.
    #[must_use]
    pub fn merges_image_groups(self) -> bool {
        self.pod.and_then(|p| p.supplemental_groups_policy.as_deref()) != Some("Strict")
    }

    /// The seccomp profile type and localhost profile; `None` means unconfined.
    #[must_use]
    pub fn seccomp(self) -> Option<(&'a str, Option<&'a str>)> {
        let profile = self
            .container
            .and_then(|c| c.seccomp_profile.as_ref())
            .or(self.pod.and_then(|p| p.seccomp_profile.as_ref()))?;
        Some((profile.type_.as_str(), profile.localhost_profile.as_deref()))
    }
}

/// Refuses root where `runAsNonRoot` asks for it (kubelet `verifyRunAsNonRoot`).
///
/// `image_user` is the image's `USER`, numeric or a name, without its group.
///
/// # Errors
/// The three `CreateContainerConfigError` texts of the kubelet.
pub fn verify_non_root(
    pod: &Pod,
    container: &Container,
    image_user: &str,
) -> Result<(), ConfigError> {
    let context = Context::of(pod, container);
    if !context.run_as_non_root() {
        return Ok(());
    }
    let meta = &pod.metadata;
    let about = format!(
        "(pod: \"{}_{}({})\", container: {})",
        meta.name.as_deref().unwrap_or_default(),
        meta.namespace.as_deref().unwrap_or_default(),
        meta.uid.as_deref().unwrap_or_default(),
        container.name
    );
    let refuse = |text: String| Err(ConfigError::Config(format!("{text} {about}")));
    match (context.run_as_user(), image_user.parse::<u32>()) {
        (Some(0), _) => refuse("container's runAsUser breaks non-root policy".to_owned()),
        (Some(_), _) => Ok(()),
        (None, _) if image_user.is_empty() => {
            refuse("container has runAsNonRoot and image will run as root".to_owned())
        }
        (None, Ok(0)) => refuse("container has runAsNonRoot and image will run as root".to_owned()),
        (None, Ok(_)) => Ok(()),
        (None, Err(_)) => refuse(format!(
            "container has runAsNonRoot and image has non-numeric user ({image_user}), cannot verify user is non-root"
        )),
    }
}

/// The capabilities of a container.
///
/// `held` is what kletd itself has: defaults are cut down to it silently, a capability that the
/// user adds by name is not.
///
/// # Errors
/// `CreateContainerError` for an unknown capability.
pub fn capabilities(
    context: Context<'_>,
    held: &HashSet<Capability>,
) -> Result<Capabilities, ConfigError> {
    if context.privileged() {
        return Ok(held.clone());
    }
    let asked = context.container.and_then(|c| c.capabilities.as_ref());
    let (add, drop) = match asked {
        Some(asked) => {
            (asked.add.clone().unwrap_or_default(), asked.drop.clone().unwrap_or_default())
        }
        None => Default::default(),
    };
    let all = |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case("ALL"));
    let mut set: Capabilities = match (all(&add), all(&drop)) {
        (true, _) => held.clone(),
        (false, true) => HashSet::new(),
        (false, false) => DEFAULT.into_iter().filter(|c| held.contains(c)).collect(),
    };
    for name in add.iter().filter(|name| !name.eq_ignore_ascii_case("ALL")) {
        set.insert(capability(name)?);
    }
    for name in drop.iter().filter(|name| !name.eq_ignore_ascii_case("ALL")) {
        set.remove(&capability(name)?);
    }
    Ok(set)
}

/// A capability by name, with or without `CAP_`.
fn capability(name: &str) -> Result<Capability, ConfigError> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    Capability::from_str(bare)
        .map_err(|_| ConfigError::Create(format!("unknown capability \"CAP_{bare}\"")))
}

#[cfg(test)]
mod tests {
    use klet_api::k8s_openapi::api::core::v1::Capabilities as Asked;

    use super::*;

    fn held() -> HashSet<Capability> {
        let mut all: HashSet<_> = DEFAULT.into_iter().collect();
        all.extend([Capability::SysAdmin, Capability::NetAdmin]);
        all
    }

    fn ask(add: &[&str], drop: &[&str]) -> Result<Vec<String>, ConfigError> {
        let names = |list: &[&str]| Some(list.iter().map(ToString::to_string).collect());
        let security = SecurityContext {
            capabilities: Some(Asked { add: names(add), drop: names(drop) }),
            ..Default::default()
        };
        let context = Context { container: Some(&security), pod: None };
        let mut set: Vec<_> =
            capabilities(context, &held())?.iter().map(ToString::to_string).collect();
        set.sort();
        Ok(set)
    }

    #[test]
    fn adding_and_dropping() {
        assert_eq!(ask(&["NET_BIND_SERVICE"], &["ALL"]).unwrap(), ["NET_BIND_SERVICE"]);
        assert_eq!(ask(&["cap_sys_admin"], &["all"]).unwrap(), ["SYS_ADMIN"]);
        assert_eq!(ask(&[], &[]).unwrap().len(), 14);
        assert_eq!(ask(&["ALL"], &["KILL"]).unwrap().len(), held().len() - 1);
        assert!(matches!(ask(&["NONSENSE"], &[]), Err(ConfigError::Create(_))));
    }

    #[test]
    fn root_is_refused_in_the_kubelets_words() {
        let mut pod = Pod::default();
        pod.metadata.name = Some("p".to_owned());
        pod.metadata.namespace = Some("n".to_owned());
        pod.metadata.uid = Some("u".to_owned());
        let mut container = Container { name: "c".to_owned(), ..Default::default() };
        let security = |user: Option<i64>| {
            Some(SecurityContext {
                run_as_non_root: Some(true),
                run_as_user: user,
                ..Default::default()
            })
        };
        container.security_context = security(None);
        let text = |image: &str, c: &Container| verify_non_root(&pod, c, image).unwrap_err();
        assert_eq!(
            text("", &container).to_string(),
            "container has runAsNonRoot and image will run as root (pod: \"p_n(u)\", container: c)"
        );
        assert!(text("app", &container).to_string().contains("non-numeric user (app)"));
        assert!(verify_non_root(&pod, &container, "101").is_ok());
        container.security_context = security(Some(0));
        assert!(text("101", &container).to_string().contains("breaks non-root policy"));
    }
}
