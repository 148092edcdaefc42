//! The control groups above the pods' own: all pods, and the classes Burstable and BestEffort
//! (kubelet's `QOSContainerManager`).

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use klet_cgroup::Cgroups;
use klet_spec::resources::{self, Qos};
use oci_spec::runtime::LinuxResources;

/// The groups, and the cpu requests of all Burstable pods, thousandths.
#[derive(Debug)]
pub struct Classes {
    cgroups: Cgroups,
    parent: String,
    burstable: Mutex<i128>,
}

impl Classes {
    /// Makes the groups. All pods together may use what is allocatable; BestEffort pods get
    /// processors as one container without a request does.
    ///
    /// # Errors
    /// A group that cannot be made. A limit that cannot be set is logged: pods have their own.
    pub fn open(
        cgroups: Cgroups,
        parent: &str,
        allocatable: &LinuxResources,
    ) -> anyhow::Result<Arc<Self>> {
        let parent = parent.trim_end_matches('/').to_owned();
        cgroups
            .settle(&parent, "kletd")
            .with_context(|| format!("cannot make the cgroup parent {parent}"))?;
        let classes = Self { cgroups, parent, burstable: Mutex::new(0) };
        classes.limit(&classes.parent, allocatable);
        // Burstable's weight is written with each of its pods: until a restarted daemon has met the
        // first, the former one stays.
        for name in ["burstable", "besteffort"] {
            classes.cgroups.container(&format!("{}/{name}", classes.parent)).create()?;
        }
        classes.limit(&format!("{}/besteffort", classes.parent), &resources::class(0));
        Ok(Arc::new(classes))
    }

    /// Counts a pod's cpu request, thousandths, towards its class for as long as the share lives.
    #[must_use]
    pub fn hold(self: &Arc<Self>, qos: Qos, milli: i128) -> Option<Share> {
        (qos == Qos::Burstable).then(|| {
            self.change(milli);
            Share { classes: Arc::clone(self), milli }
        })
    }

    fn change(&self, milli: i128) {
        let mut total = self.burstable.lock().unwrap_or_else(PoisonError::into_inner);
        *total += milli;
        // Under the lock: the last word is the newest.
        self.limit(&format!("{}/burstable", self.parent), &resources::class(*total));
    }

    fn limit(&self, path: &str, limits: &LinuxResources) {
        match self.cgroups.container(path).apply(limits) {
            Ok(warnings) => warnings.iter().for_each(|warning| tracing::info!("{warning}")),
            Err(error) => tracing::warn!("{:#}", anyhow::Error::from(error)),
        }
    }
}

/// One pod's part of its class.
#[derive(Debug)]
pub struct Share {
    classes: Arc<Classes>,
    milli: i128,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.classes.change(-self.milli);
    }
}
