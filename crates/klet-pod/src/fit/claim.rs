//! What a pod takes of a node: resources and host ports.

use std::collections::BTreeMap;

use klet_api::Pod;
use klet_api::k8s_openapi::api::core::v1::{Container, ResourceRequirements};
use klet_api::quantity::Quantity;

use super::{Misfit, Offer, amount};
use crate::pods;

/// What a pod takes of its node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    /// By resource name, in the units of [`Misfit::Resource`].
    pub(super) resources: BTreeMap<String, i128>,
    /// Protocol, host address and port.
    ports: Vec<(String, String, i32)>,
}

type Amounts = BTreeMap<String, i128>;

impl Claim {
    /// The pod's effective requests: those of the app containers and sidecars together, or of any
    /// init container with the sidecars before it where that is more; the pod's own requests, if
    /// it has any, instead; its overhead on top.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        let spec = pod.spec.as_ref();
        let (mut beside, mut peak) = (Amounts::new(), Amounts::new());
        for container in pods::init_containers(pod) {
            let own = requests(container.resources.as_ref());
            if pods::is_sidecar(container) {
                add(&mut beside, &own);
            } else {
                let mut together = beside.clone();
                add(&mut together, &own);
                raise(&mut peak, &together);
            }
        }
        let mut resources = beside;
        for container in pods::app_containers(pod) {
            add(&mut resources, &requests(container.resources.as_ref()));
        }
        raise(&mut resources, &peak);
        resources.extend(requests(spec.and_then(|spec| spec.resources.as_ref())));
        for (name, quantity) in spec.and_then(|spec| spec.overhead.as_ref()).into_iter().flatten() {
            add(&mut resources, &[(name.clone(), parse(name, &quantity.0))].into());
        }
        resources.insert("pods".to_owned(), 1);
        let ports = pods::app_containers(pod).iter().flat_map(ports).collect();
        Self { resources, ports }
    }

    /// Resources of which too little is left, in the order of Kubernetes.
    pub(super) fn shortages<'a>(
        &self,
        offer: &Offer,
        held: impl Iterator<Item = &'a Self> + Clone,
    ) -> Vec<Misfit> {
        const FIRST: [&str; 4] = ["pods", "cpu", "memory", "ephemeral-storage"];
        let place = |name: &str| FIRST.iter().position(|first| *first == name);
        let mut names: Vec<&String> = self.resources.keys().collect();
        names.sort_by_key(|name| (place(name).unwrap_or(FIRST.len()), name.as_str()));
        let mut short = Vec::new();
        for name in names {
            let requested = self.resources.get(name).copied().unwrap_or(0);
            let used: i128 = held.clone().filter_map(|claim| claim.resources.get(name)).sum();
            let capacity = offer.allocatable.get(name).map_or(0, |text| parse(name, text));
            if requested > 0 && requested > capacity - used {
                short.push(Misfit::Resource { name: name.clone(), requested, used, capacity });
            }
        }
        short
    }

    /// Some host port is taken. An address of all zeros means every address.
    pub(super) fn collides<'a>(&self, held: impl Iterator<Item = &'a Self> + Clone) -> bool {
        let all = |address: &str| address.is_empty() || address == "0.0.0.0" || address == "::";
        self.ports.iter().any(|(protocol, address, port)| {
            held.clone().flat_map(|claim| &claim.ports).any(|(other, there, taken)| {
                protocol == other
                    && port == taken
                    && (all(address) || all(there) || address == there)
            })
        })
    }
}

fn requests(resources: Option<&ResourceRequirements>) -> Amounts {
    let listed = resources.and_then(|resources| resources.requests.as_ref());
    let listed = listed.into_iter().flatten();
    listed.map(|(name, quantity)| (name.clone(), parse(name, &quantity.0))).collect()
}

fn parse(name: &str, text: &str) -> i128 {
    Quantity::parse(text).map_or(0, |quantity| amount(name, &quantity))
}

fn add(to: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        *to.entry(name.clone()).or_default() += amount;
    }
}

fn raise(to: &mut Amounts, least: &Amounts) {
    for (name, amount) in least {
        let present = to.entry(name.clone()).or_default();
        *present = (*present).max(*amount);
    }
}

fn ports(container: &Container) -> impl Iterator<Item = (String, String, i32)> {
    let ports = container.ports.iter().flatten();
    ports.filter_map(|port| {
        let number = port.host_port.filter(|number| *number > 0)?;
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        Some((protocol, port.host_ip.clone().unwrap_or_default(), number))
    })
}
