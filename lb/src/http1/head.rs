//! The head of a request and of a response: start line and fields, read by [`super::parse`] or built line by line.
//!
//! A head owns a copy of its bytes, so the connection's buffer is free at once. It is kept for the life of a
//! connection and refilled: after the first few messages nothing is allocated.

use super::fields::{Fields, Known, Span};
use super::invalid::Invalid;
use super::parse::Progress;
use super::target::{self, Target};
use super::{TargetForm, syntax};

/// A version of HTTP as far as a proxy tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1, and later minor versions, which are read like it: RFC 9110, section 2.5.
    #[default]
    Http11,
    /// HTTP/2, for heads that were built from its frames.
    Http2,
}

/// A request method. Methods are case-sensitive: RFC 9110, section 9.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    /// Every other one: [`RequestHead::method_name`] has its name.
    Other,
}

impl Method {
    /// Classifies a method by its name.
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"CONNECT" => Self::Connect,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            _ => Self::Other,
        }
    }

    /// Whether the method asks for nothing to change: RFC 9110, section 9.2.1.
    #[must_use]
    pub const fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Options | Self::Trace)
    }

    /// Whether a request may be sent twice with the effect of once: RFC 9110, section 9.2.2.
    #[must_use]
    pub const fn is_idempotent(self) -> bool {
        self.is_safe() || matches!(self, Self::Put | Self::Delete)
    }
}

/// The head of a request.
#[derive(Debug, Clone, Default)]
pub struct RequestHead {
    pub(super) method: Method,
    pub(super) method_name: Span,
    pub(super) target: Target,
    pub(super) version: Version,
    pub(super) fields: Fields,
    pub(super) progress: Progress,
}

impl RequestHead {
    /// Forgets all, keeps the memory, and awaits a new head.
    pub fn clear(&mut self) {
        self.fields.clear();
        self.method = Method::Other;
        self.method_name = Span::default();
        self.target = Target::default();
        self.progress = Progress::default();
    }

    /// Begins a head that does not come from [`RequestHead::parse`], such as one of HTTP/2. The fields follow with
    /// [`Fields::push`] on [`RequestHead::fields_mut`], then [`RequestHead::check`].
    ///
    /// # Errors
    /// When the method is not a token, or the target has no form that is allowed for the method.
    pub fn begin(&mut self, version: Version, method: &[u8], target: &[u8]) -> Result<(), Invalid> {
        self.clear();
        if !syntax::is_token(method) {
            return Err(Invalid::Method);
        }
        self.version = version;
        self.method = Method::of(method);
        let raw = &mut self.fields.raw;
        raw.extend_from_slice(method);
        raw.extend_from_slice(target);
        self.method_name = Span::new(0, method.len());
        self.target = target::read(self.method, target, method.len())?;
        Ok(())
    }

    /// Checks what concerns several lines: `Host`. [`RequestHead::parse`] has done it.
    ///
    /// # Errors
    /// When `Host` is missing in HTTP/1.1, repeated, or no `host[:port]`.
    pub fn check(&self) -> Result<(), Invalid> {
        let mut hosts = self.fields.values(Known::Host);
        match (hosts.next(), hosts.next()) {
            (_, Some(_)) => Err(Invalid::HostRepeated),
            (Some(host), None) if host.is_empty() || target::is_authority(host) => Ok(()),
            (Some(_), None) => Err(Invalid::Host),
            (None, None) if self.version == Version::Http11 => Err(Invalid::HostMissing),
            (None, None) => Ok(()),
        }
    }

    /// The method.
    #[must_use]
    pub const fn method(&self) -> Method {
        self.method
    }

    /// The method's name.
    #[must_use]
    pub fn method_name(&self) -> &[u8] {
        self.method_name.of(&self.fields.raw)
    }

    /// The version.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The target as it came.
    #[must_use]
    pub fn target(&self) -> &[u8] {
        self.target.all.of(&self.fields.raw)
    }

    /// The form of the target: RFC 9112, section 3.2.
    #[must_use]
    pub const fn target_form(&self) -> TargetForm {
        self.target.form
    }

    /// Path and query. Of an absolute-form target what follows the authority: when that is empty or begins with `?`,
    /// a `/` before it is implied. `*` of the asterisk-form, and empty for the authority-form.
    #[must_use]
    pub fn path_and_query(&self) -> &[u8] {
        self.target.path.of(&self.fields.raw)
    }

    /// Appends the target as an origin server gets it: origin-form, or `*` for OPTIONS of a whole server, or the
    /// authority-form for CONNECT. RFC 9112, section 3.2.
    pub fn put_target(&self, out: &mut Vec<u8>) {
        let path = self.path_and_query();
        match self.target.form {
            TargetForm::Authority => return out.extend_from_slice(self.target()),
            TargetForm::Absolute if path.is_empty() && self.method == Method::Options => out.push(b'*'),
            TargetForm::Absolute if !path.starts_with(b"/") => out.push(b'/'),
            TargetForm::Absolute | TargetForm::Origin | TargetForm::Asterisk => {}
        }
        out.extend_from_slice(path);
    }

    /// The host and port that the request is for: of the target where it has them, else of `Host`. `None` when there is
    /// no `Host`, empty when that is empty. RFC 9112, sections 3.2.2 and 3.3.
    #[must_use]
    pub fn authority(&self) -> Option<&[u8]> {
        match self.target.form {
            TargetForm::Absolute | TargetForm::Authority => Some(self.target.authority.of(&self.fields.raw)),
            TargetForm::Origin | TargetForm::Asterisk => self.fields.get(Known::Host),
        }
    }

    /// The fields.
    #[must_use]
    pub const fn fields(&self) -> &Fields {
        &self.fields
    }

    /// The fields, to append to. Clear the head and not the fields: the start line is kept in the same bytes.
    pub const fn fields_mut(&mut self) -> &mut Fields {
        &mut self.fields
    }
}

/// The head of a response.
#[derive(Debug, Clone, Default)]
pub struct ResponseHead {
    pub(super) version: Version,
    pub(super) status: u16,
    pub(super) reason: Span,
    pub(super) fields: Fields,
    pub(super) progress: Progress,
}

impl ResponseHead {
    /// Forgets all, keeps the memory, and awaits a new head.
    pub fn clear(&mut self) {
        self.fields.clear();
        self.status = 0;
        self.reason = Span::default();
        self.progress = Progress::default();
    }

    /// Begins a head that does not come from [`ResponseHead::parse`]. The fields follow with [`Fields::push`] on
    /// [`ResponseHead::fields_mut`].
    pub fn begin(&mut self, version: Version, status: u16, reason: &[u8]) {
        self.clear();
        self.version = version;
        self.status = status;
        self.fields.raw.extend_from_slice(reason);
        self.reason = Span::new(0, reason.len());
    }

    /// The version.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The status, 100 to 999.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// Whether another response follows for the same request: 1xx but 101. RFC 9110, section 15.2.
    #[must_use]
    pub const fn is_interim(&self) -> bool {
        self.status / 100 == 1 && self.status != 101
    }

    /// The reason phrase, often empty.
    #[must_use]
    pub fn reason(&self) -> &[u8] {
        self.reason.of(&self.fields.raw)
    }

    /// The fields.
    #[must_use]
    pub const fn fields(&self) -> &Fields {
        &self.fields
    }

    /// The fields, to append to. Clear the head and not the fields: the start line is kept in the same bytes.
    pub const fn fields_mut(&mut self) -> &mut Fields {
        &mut self.fields
    }
}
