//! The QoS class of a pod.

use std::collections::BTreeMap;

use klet_api::Pod;
use klet_api::k8s_openapi::api::core::v1::ResourceRequirements;
use klet_api::k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use klet_api::quantity::Quantity;

use crate::pods;

const RESOURCES: [&str; 2] = ["cpu", "memory"];

type List = BTreeMap<String, ApiQuantity>;

/// `BestEffort` without any cpu or memory request or limit; `Guaranteed` when every container
/// limits both and requests as much; else `Burstable`. The pod's own resources, when set, stand
/// for those of its containers.
#[must_use]
pub fn qos_class(pod: &Pod) -> &'static str {
    let own = pod.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    let all: Vec<Option<&ResourceRequirements>> = match own {
        Some(own) => vec![Some(own)],
        None => pods::all_containers(pod).map(|(_, c)| c.resources.as_ref()).collect(),
    };
    let mut any = false;
    let mut guaranteed = true;
    for resource in RESOURCES {
        let mut requests = Quantity::default();
        let mut limits = Quantity::default();
        for of in &all {
            let request = of.and_then(|of| amount(of.requests.as_ref(), resource));
            let limit = of.and_then(|of| amount(of.limits.as_ref(), resource));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some();
            requests.add(&request.unwrap_or_default());
            limits.add(&limit.unwrap_or_default());
        }
        guaranteed &= requests == limits;
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// The amount asked for, when it is more than nothing.
fn amount(list: Option<&List>, resource: &str) -> Option<Quantity> {
    let quantity = Quantity::parse(&list?.get(resource)?.0).ok()?;
    (!quantity.is_zero() && !quantity.is_negative()).then_some(quantity)
}
