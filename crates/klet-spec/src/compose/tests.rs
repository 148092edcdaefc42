//! Composition, table by table.

use klet_api::PodSpec;
use klet_api::k8s_openapi::api::core::v1::{PodSecurityContext, SeccompProfile, SecurityContext};

use super::*;

fn machine() -> Machine {
    Machine {
        memory_bytes: 1 << 30,
        capabilities: HashSet::from([Capability::Chown, Capability::SysAdmin]),
        ..Default::default()
    }
}

struct Case {
    pod: Pod,
    container: Container,
    image: ImageFacts,
    environment: Environment,
    user: ResolvedUser,
}

impl Case {
    fn new() -> Self {
        let pod = Pod { spec: Some(PodSpec::default()), ..Default::default() };
        let image = ImageFacts {
            entrypoint: vec!["/entry".into()],
            cmd: vec!["cmd".into()],
            env: vec!["A=image".into()],
            working_dir: "/srv".into(),
        };
        Self {
            pod,
            container: Container::default(),
            image,
            environment: Environment::new(),
            user: ResolvedUser::default(),
        }
    }

    fn compose(&self) -> Result<Spec, ConfigError> {
        compose(&Input {
            pod: &self.pod,
            container: &self.container,
            container_id: "cafe",
            image: &self.image,
            user: &self.user,
            environment: &self.environment,
            hostname: "web",
            volumes: &[],
            files: &ManagedFiles::default(),
            pod_cgroup: "/kubepods/podu",
            localhost_seccomp: None,
            machine: &machine(),
        })
    }
}

fn argv(command: &[&str], args: &[&str]) -> Vec<String> {
    let mut case = Case::new();
    let list = |items: &[&str]| Some(items.iter().map(ToString::to_string).collect::<Vec<_>>());
    case.container.command = list(command);
    case.container.args = list(args);
    case.environment.insert("N".into(), "7".into());
    case.compose().unwrap().process().as_ref().unwrap().args().clone().unwrap()
}

#[test]
fn command_and_args_against_entrypoint_and_cmd() {
    assert_eq!(argv(&[], &[]), ["/entry", "cmd"]);
    assert_eq!(argv(&[], &["x", "$(N)"]), ["/entry", "x", "7"]);
    assert_eq!(argv(&["/c"], &[]), ["/c"]);
    assert_eq!(argv(&["/c"], &["x"]), ["/c", "x"]);
}

#[test]
fn nothing_to_run_is_a_create_error() {
    let mut case = Case::new();
    case.image = ImageFacts { entrypoint: vec![String::new()], ..Default::default() };
    let error = case.compose().unwrap_err();
    assert_eq!(error.reason(), "CreateContainerError");
    assert!(error.to_string().ends_with("no command specified"), "{error}");
}

#[test]
fn the_pods_variables_win_over_the_images() {
    let mut case = Case::new();
    case.environment.insert("A".into(), "pod".into());
    let spec = case.compose().unwrap();
    let env = spec.process().as_ref().unwrap().env().clone().unwrap();
    assert!(env.contains(&"A=pod".to_owned()));
    assert!(env.contains(&"HOSTNAME=web".to_owned()));
    assert!(env.contains(&format!("PATH={DEFAULT_PATH}")));
}

#[test]
fn privileged_means_no_walls() {
    let mut case = Case::new();
    case.container.security_context =
        Some(SecurityContext { privileged: Some(true), ..Default::default() });
    let spec = case.compose().unwrap();
    let linux = spec.linux().as_ref().unwrap();
    assert!(linux.masked_paths().iter().flatten().next().is_none() && linux.seccomp().is_none());
    let kinds: Vec<_> = linux.namespaces().iter().flatten().map(LinuxNamespace::typ).collect();
    assert_eq!(kinds, [LinuxNamespaceType::Mount, LinuxNamespaceType::Pid]);
}

#[test]
fn seccomp_and_groups_come_from_the_pod() {
    let mut case = Case::new();
    case.user = ResolvedUser { uid: 1000, gid: 1000, image_groups: vec![44], home: None };
    case.pod.spec.as_mut().unwrap().security_context = Some(PodSecurityContext {
        fs_group: Some(2000),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".into(),
            localhost_profile: None,
        }),
        ..Default::default()
    });
    let spec = case.compose().unwrap();
    assert!(spec.linux().as_ref().unwrap().seccomp().is_some());
    let user = spec.process().as_ref().unwrap().user().clone();
    assert_eq!(user.additional_gids().clone().unwrap(), [44, 1000, 2000]);
}

#[test]
fn nothing_of_an_example_configuration_is_left() {
    let spec = Case::new().compose().unwrap();
    assert!(spec.hostname().is_none(), "the pod's hostname belongs to the sandbox");
    assert!(spec.linux().as_ref().unwrap().uid_mappings().is_none());
    assert_eq!(spec.linux().as_ref().unwrap().devices().as_ref().map(Vec::len), Some(0));
}
