//! The field lines of a message, kept as one run of bytes and an index into it.
//!
//! The order, the case of the names and the bytes of the values stay as they came. It combines nothing and decodes
//! nothing; what the values mean is for their readers.

use super::syntax;

/// A run of bytes within [`Fields::raw`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    /// # Panics
    /// When `end` is above `u32::MAX`.
    pub(super) fn new(start: usize, end: usize) -> Self {
        let narrow = |at: usize| u32::try_from(at).expect("a head is far below 4 GiB");
        Self { start: narrow(start), end: narrow(end) }
    }

    /// Empty when `raw` has been cleared since.
    pub(super) fn of(self, raw: &[u8]) -> &[u8] {
        raw.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// The fields whose names matter to a proxy, so that a name is compared once only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Known {
    Authorization,
    Connection,
    ContentLength,
    ContentType,
    Cookie,
    Date,
    Expect,
    Host,
    Http2Settings,
    KeepAlive,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyConnection,
    RetryAfter,
    Server,
    SetCookie,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    XForwardedFor,
    XForwardedHost,
    XForwardedProto,
    XRequestId,
    /// Every other field.
    Other,
}

/// A field line of [`Fields`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) name: Span,
    pub(super) value: Span,
    pub(super) known: Known,
}

/// Field lines in the order they came. Kept and cleared from message to message, so that its memory is reused.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    pub(super) raw: Vec<u8>,
    pub(super) lines: Vec<Line>,
    /// One bit for each [`Known`] that occurs.
    pub(super) present: u32,
}

impl Known {
    /// Classifies a field name, in any case.
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        let is = |lower: &[u8]| name.eq_ignore_ascii_case(lower);
        match name.len() {
            2 if is(b"te") => Self::Te,
            4 if is(b"host") => Self::Host,
            4 if is(b"date") => Self::Date,
            6 if is(b"cookie") => Self::Cookie,
            6 if is(b"server") => Self::Server,
            6 if is(b"expect") => Self::Expect,
            7 if is(b"upgrade") => Self::Upgrade,
            7 if is(b"trailer") => Self::Trailer,
            10 if is(b"connection") => Self::Connection,
            10 if is(b"keep-alive") => Self::KeepAlive,
            10 if is(b"set-cookie") => Self::SetCookie,
            11 if is(b"retry-after") => Self::RetryAfter,
            12 if is(b"content-type") => Self::ContentType,
            12 if is(b"x-request-id") => Self::XRequestId,
            13 if is(b"authorization") => Self::Authorization,
            14 if is(b"content-length") => Self::ContentLength,
            14 if is(b"http2-settings") => Self::Http2Settings,
            15 if is(b"x-forwarded-for") => Self::XForwardedFor,
            16 if is(b"x-forwarded-host") => Self::XForwardedHost,
            16 if is(b"proxy-connection") => Self::ProxyConnection,
            17 if is(b"transfer-encoding") => Self::TransferEncoding,
            17 if is(b"x-forwarded-proto") => Self::XForwardedProto,
            18 if is(b"proxy-authenticate") => Self::ProxyAuthenticate,
            19 if is(b"proxy-authorization") => Self::ProxyAuthorization,
            _ => Self::Other,
        }
    }

    /// Whether the field is for this connection only and is never forwarded as it came: RFC 9110, section 7.6.1, and
    /// HTTP2-Settings of RFC 7540, section 3.2.1. `Connection` may nominate more: [`connection_lists`].
    #[must_use]
    pub const fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::Http2Settings
                | Self::KeepAlive
                | Self::ProxyConnection
                | Self::Te
                | Self::TransferEncoding
                | Self::Upgrade
        )
    }

    const fn bit(self) -> u32 {
        1 << self as u8
    }
}

impl Fields {
    /// Forgets all lines and keeps the memory.
    pub fn clear(&mut self) {
        self.raw.clear();
        self.lines.clear();
        self.present = 0;
    }

    /// How many lines there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is no line.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// All lines: name as it came, value without whitespace around it, and what the name is known as.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8], Known)> + Clone {
        self.lines.iter().map(|line| (line.name.of(&self.raw), line.value.of(&self.raw), line.known))
    }

    /// Whether the field occurs. One look at a bit set.
    #[must_use]
    pub const fn has(&self, known: Known) -> bool {
        self.present & known.bit() != 0
    }

    /// The value of the first line of a field. Costs nothing when there is none.
    #[must_use]
    pub fn get(&self, known: Known) -> Option<&[u8]> {
        self.values(known).next()
    }

    /// The values of all lines of a field, in order.
    pub fn values(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        let lines: &[Line] = if self.has(known) { &self.lines } else { &[] };
        lines.iter().filter(move |line| line.known == known).map(|line| line.value.of(&self.raw))
    }

    /// How many lines a field has.
    #[must_use]
    pub fn count(&self, known: Known) -> usize {
        self.values(known).count()
    }

    /// The value of the first line with this name, in any case.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find(|(other, ..)| other.eq_ignore_ascii_case(name)).map(|(_, value, _)| value)
    }

    /// Appends a line, without whitespace around the value. The caller answers for the characters: [`is_name`] and
    /// [`is_value`] tell.
    ///
    /// # Panics
    /// When all lines together would be longer than 4 GiB.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let value = syntax::trim(value);
        debug_assert!(is_name(name) && is_value(value), "a field that would not be read back");
        let start = self.raw.len();
        self.raw.extend_from_slice(name);
        let middle = self.raw.len();
        self.raw.extend_from_slice(value);
        let end = self.raw.len();
        let line =
            Line { name: Span::new(start, middle), value: Span::new(middle, end), known: Known::of(name) };
        self.push_line(line);
    }

    pub(super) fn push_line(&mut self, line: Line) {
        self.present |= line.known.bit();
        self.lines.push(line);
    }
}

/// Whether this can be a field name, a method or another token: RFC 9110, section 5.6.2.
#[must_use]
pub fn is_name(name: &[u8]) -> bool {
    syntax::is_token(name)
}

/// Whether this can be a field value: no control characters but HTAB, no whitespace around it. RFC 9110, section 5.5.
#[must_use]
pub fn is_value(value: &[u8]) -> bool {
    syntax::is_text(value) && syntax::trim(value).len() == value.len()
}

/// The elements of a comma-separated value, without whitespace around them and without empty ones: RFC 9110,
/// section 5.6.1. For lists of tokens: a comma within quotes separates too.
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(syntax::trim).filter(|element| !element.is_empty())
}

/// Whether a `Connection` line has this option or nominates this field, in any case. RFC 9110, section 7.6.1.
#[must_use]
pub fn connection_lists(fields: &Fields, name: &[u8]) -> bool {
    fields.values(Known::Connection).flat_map(list).any(|option| option.eq_ignore_ascii_case(name))
}
