//! The lab as an administrator of the managers: requests with a token, and the checks of their errors.
//!
//! The token is derived here once more, from the protocol's description, and not taken from the manager's code: this
//! is another program's view of the interface.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use hkdf::Hkdf;
use http::{Method, StatusCode};
use sha2::Sha256;
use wire::{ErrorBody, ErrorDetail};

use crate::api::{self, Response};
use crate::plan::HostPlan;
use crate::state::host_dir;

#[cfg(test)]
mod tests;

/// How long a writing request may take: a VM may have to be made.
const WRITE_WITHIN: Duration = Duration::from_secs(30);

/// One host's API, with the right to write.
#[derive(Debug, Clone)]
pub(crate) struct Admin<'a> {
    host: &'a HostPlan,
    token: String,
}

impl<'a> Admin<'a> {
    /// The administrator of a host's manager.
    pub(crate) fn of(host: &'a HostPlan) -> Result<Self> {
        let path = host_dir(&host.name).join("etc-phalanx/secret");
        let secret = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { host, token: token(secret.trim_ascii())? })
    }

    /// A request with the token.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<&str>) -> Result<Response> {
        api::send(self.host.api(), method, path, Some(&self.token), body, WRITE_WITHIN).await
    }

    /// A request with another token, or with none.
    pub(crate) async fn send_as(&self, token: Option<&str>, method: Method, path: &str) -> Result<Response> {
        api::send(self.host.api(), method, path, token, Some("{}"), WRITE_WITHIN).await
    }

    /// Makes a service VM; its id.
    pub(crate) async fn create(&self) -> Result<String> {
        let response = self.send(Method::POST, "/v1/vms", Some("{}")).await?;
        ensure!(response.status.is_success(), "POST /v1/vms: {}: {}", response.status, response.text());
        Ok(response.json::<wire::Vm>()?.id)
    }

    /// Removes a service VM.
    pub(crate) async fn delete(&self, id: &str) -> Result<()> {
        let response = self.send(Method::DELETE, &format!("/v1/vms/{id}"), None).await?;
        ensure!(response.status.is_success(), "DELETE {id}: {}: {}", response.status, response.text());
        Ok(())
    }
}

/// The token for an administrator's requests: HKDF-SHA256 of the secret, purpose `api`, in hexadecimal.
fn token(secret: &[u8]) -> Result<String> {
    let mut token = [0_u8; 32];
    if Hkdf::<Sha256>::new(Some(b"phalanx token v1"), secret).expand(b"api", &mut token).is_err() {
        bail!("the token cannot be derived");
    }
    Ok(token.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// An answer must be this error, in the one shape of all errors.
pub(crate) fn expect_error(
    response: &Response,
    status: StatusCode,
    code: Option<&str>,
) -> Result<ErrorDetail> {
    ensure!(response.status == status, "{} instead of {status}: {}", response.status, response.text());
    let error = response.json::<ErrorBody>()?.error;
    ensure!(!error.message.is_empty(), "the error has no message: {}", response.text());
    if let Some(code) = code {
        ensure!(error.code == code, "code `{}` instead of `{code}`: {}", error.code, error.message);
    }
    Ok(error)
}
