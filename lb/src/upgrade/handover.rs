//! What a process knows that its successor cannot read from a file.

use serde::{Deserialize, Serialize};
use wire::{PutUpstreams, Upstream};

use super::{Error, InheritError, Inherited};

/// The upstream set in force, and the upstreams that this process's configuration named. A successor whose
/// configuration names others puts those in force, as a reload would.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Handover {
    pub(crate) set: PutUpstreams,
    #[serde(default)]
    pub(crate) configured: Vec<Upstream>,
}

impl Handover {
    /// What the predecessor left; none without one.
    ///
    /// # Errors
    /// When it is not understood: to begin with another set than the one in force would be a failure for clients.
    pub(crate) fn read(inherited: &mut Inherited) -> Result<Option<Self>, InheritError> {
        let bytes = inherited.set().map_err(|e| InheritError::Set(e.to_string()))?;
        let parse = |bytes: Vec<u8>| serde_json::from_slice(&bytes);
        bytes.map(parse).transpose().map_err(|e| InheritError::Set(e.to_string()))
    }

    /// As it is handed over.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self).map_err(|e| Error::Wait(e.into()))
    }
}
