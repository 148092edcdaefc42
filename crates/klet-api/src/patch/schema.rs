//! Which lists merge, and by which key.
//!
//! The knowledge sits in the Go types' struct tags (`patchStrategy:"merge" patchMergeKey:"name"`)
//! of `k8s.io/api`. A field that is not named here is what Go calls atomic when it is a list, and
//! merges key by key when it is an object.

/// The shape of an object on the way down into a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A whole Pod, `PodTemplate` or template.
    Pod,
    /// Deployment, `ReplicaSet`, `DaemonSet`, `StatefulSet`, Job.
    Workload,
    WorkloadSpec,
    CronJob,
    CronJobSpec,
    Service,
    ServiceSpec,
    ServiceAccount,
    Node,
    NodeSpec,
    Meta,
    PodSpec,
    Container,
    /// The status of any kind: its list fields do not clash.
    Status,
    /// Nothing below merges by key.
    Plain,
    /// A kind of which only the metadata and status are known.
    Other,
}

/// How a list field takes a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    /// Replaced whole.
    Atomic,
    /// Objects, merged by the value of this key.
    Keyed(&'static str),
    /// Scalars, merged as a set.
    Set,
}

/// What is known of one field.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    /// The shape of the field's value, or of its elements.
    pub(super) shape: Shape,
    /// How it merges if it is a list.
    pub(super) list: List,
    /// A union: a patch that changes it names the keys to keep (`$retainKeys`).
    pub(super) retain_keys: bool,
}

/// The shape of a whole object of this kind.
pub(super) fn root(kind: &str) -> Shape {
    match kind {
        "Pod" | "PodTemplate" => Shape::Pod,
        "Deployment"
        | "ReplicaSet"
        | "DaemonSet"
        | "StatefulSet"
        | "Job"
        | "ReplicationController" => Shape::Workload,
        "CronJob" => Shape::CronJob,
        "Service" => Shape::Service,
        "ServiceAccount" => Shape::ServiceAccount,
        "Node" => Shape::Node,
        _ => Shape::Other,
    }
}

impl Shape {
    /// What is known of the field `name` of an object of this shape.
    pub(super) fn field(self, name: &str) -> Field {
        match (self, name) {
            (Shape::Plain, _) => object(Shape::Plain),
            (Shape::Meta, "ownerReferences") => keyed(Shape::Plain, "uid"),
            (Shape::Meta, "finalizers") => set(),
            (Shape::Status, _) => status_field(name),
            (Shape::PodSpec, _) => pod_spec_field(name),
            (Shape::Container, _) => container_field(name),
            (Shape::ServiceSpec, "ports") => keyed(Shape::Plain, "port"),
            (Shape::NodeSpec, "podCIDRs") => set(),
            (Shape::ServiceAccount, "secrets") => keyed(Shape::Plain, "name"),
            (Shape::WorkloadSpec, "strategy") => {
                Field { retain_keys: true, ..object(Shape::Plain) }
            }
            (Shape::WorkloadSpec, "template") | (Shape::Pod, "template") => object(Shape::Pod),
            (Shape::CronJobSpec, "jobTemplate") => object(Shape::Workload),
            (shape, "spec") => object(shape.spec()),
            (shape, "metadata") if shape.is_root() => object(Shape::Meta),
            (shape, "status") if shape.is_root() => object(Shape::Status),
            _ => object(Shape::Plain),
        }
    }

    fn spec(self) -> Shape {
        match self {
            Shape::Pod => Shape::PodSpec,
            Shape::Workload => Shape::WorkloadSpec,
            Shape::CronJob => Shape::CronJobSpec,
            Shape::Service => Shape::ServiceSpec,
            Shape::Node => Shape::NodeSpec,
            _ => Shape::Plain,
        }
    }

    fn is_root(self) -> bool {
        matches!(
            self,
            Shape::Pod
                | Shape::Workload
                | Shape::CronJob
                | Shape::Service
                | Shape::ServiceAccount
                | Shape::Node
                | Shape::Other
        )
    }
}

fn pod_spec_field(name: &str) -> Field {
    match name {
        "containers" | "initContainers" | "ephemeralContainers" => keyed(Shape::Container, "name"),
        "volumes" | "resourceClaims" => Field { retain_keys: true, ..keyed(Shape::Plain, "name") },
        "imagePullSecrets" | "schedulingGates" => keyed(Shape::Plain, "name"),
        "hostAliases" => keyed(Shape::Plain, "ip"),
        "topologySpreadConstraints" => keyed(Shape::Plain, "topologyKey"),
        _ => object(Shape::Plain),
    }
}

fn container_field(name: &str) -> Field {
    match name {
        "env" => keyed(Shape::Plain, "name"),
        "ports" => keyed(Shape::Plain, "containerPort"),
        "volumeMounts" => keyed(Shape::Plain, "mountPath"),
        "volumeDevices" => keyed(Shape::Plain, "devicePath"),
        _ => object(Shape::Plain),
    }
}

fn status_field(name: &str) -> Field {
    match name {
        "conditions" | "addresses" => keyed(Shape::Plain, "type"),
        "podIPs" | "hostIPs" => keyed(Shape::Plain, "ip"),
        _ => object(Shape::Plain),
    }
}

fn object(shape: Shape) -> Field {
    Field { shape, list: List::Atomic, retain_keys: false }
}

fn keyed(shape: Shape, key: &'static str) -> Field {
    Field { shape, list: List::Keyed(key), retain_keys: false }
}

fn set() -> Field {
    Field { shape: Shape::Plain, list: List::Set, retain_keys: false }
}
