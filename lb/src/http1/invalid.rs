//! Why a message is refused: one variant for each reason, with the status a client gets for it.
//!
//! Nothing of the message is quoted: the errors go to logs and to clients, and the bytes are the sender's.

/// What is wrong with a message. `line` counts the field lines of a head or trailer section from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A line ends in LF without CR. RFC 9112, section 2.2.
    #[error("a line ends in LF without CR")]
    BareLf,
    /// CR is not followed by LF. RFC 9112, section 2.2.
    #[error("CR without LF")]
    BareCr,
    /// The request line is not `method SP target SP version`. RFC 9112, section 3.
    #[error("the request line is not a method, a target and a version with one space between")]
    RequestLine,
    /// A request line without version, as before HTTP/1.0.
    #[error("HTTP/0.9 is not supported")]
    Http09,
    /// The method is not a token. RFC 9110, section 9.1.
    #[error("the method is not a token")]
    Method,
    /// The version is none. RFC 9112, section 2.3.
    #[error("the version is not HTTP/ and two digits with a dot between")]
    Version,
    /// The major version is not 1.
    #[error("the major version of HTTP is not 1")]
    UnsupportedVersion,
    /// The request line is longer than the limit.
    #[error("the request line is longer than the limit of the head")]
    TargetTooLong,
    /// The target has characters that a URI has not, or a fragment. RFC 9112, section 3.2.
    #[error("the target has a character that is not allowed")]
    TargetCharacter,
    /// The target has none of the four forms, or one that its method does not allow. RFC 9112, section 3.2.
    #[error("the target has no form that is allowed for its method")]
    TargetForm,
    /// The authority in the target is not `host[:port]`. RFC 9110, sections 4.2.1 and 4.2.4.
    #[error("the authority of the target is not a host and a port")]
    TargetAuthority,
    /// The status line is not `version SP 3DIGIT SP [reason]`. RFC 9112, section 4.
    #[error("the status line is not a version, a status of three digits and a reason")]
    StatusLine,
    /// The head is longer than the limit.
    #[error("the head is longer than the limit")]
    HeadTooLarge,
    /// More field lines than [`super::MAX_FIELD_LINES`], or than a trailer section may have.
    #[error("too many field lines")]
    TooManyLines,
    /// A field line is folded or indented. RFC 9112, sections 2.2 and 5.2.
    #[error("field line {line} is folded")]
    Folded {
        /// Which.
        line: u16,
    },
    /// A field line has no colon.
    #[error("field line {line} has no colon")]
    NoColon {
        /// Which.
        line: u16,
    },
    /// A field line has an empty name. RFC 9110, section 5.1.
    #[error("field line {line} has an empty name")]
    EmptyName {
        /// Which.
        line: u16,
    },
    /// Whitespace between a name and its colon. RFC 9112, section 5.1.
    #[error("field line {line} has whitespace before the colon")]
    SpaceBeforeColon {
        /// Which.
        line: u16,
    },
    /// A field name is not a token. RFC 9110, section 5.1.
    #[error("the name of field line {line} is not a token")]
    Name {
        /// Which.
        line: u16,
    },
    /// A field value has a control character. RFC 9110, section 5.5.
    #[error("the value of field line {line} has a control character")]
    Value {
        /// Which.
        line: u16,
    },
    /// A request of HTTP/1.1 without Host. RFC 9112, section 3.2.
    #[error("Host is missing")]
    HostMissing,
    /// Several Host lines. RFC 9112, section 3.2.
    #[error("Host is given more than once")]
    HostRepeated,
    /// Host is not `host[:port]`. RFC 9110, section 7.2.
    #[error("Host is not a host and a port")]
    Host,
    /// Content-Length and Transfer-Encoding in one message. RFC 9112, section 6.1.
    #[error("both Content-Length and Transfer-Encoding are given")]
    LengthAndCoding,
    /// Several Content-Length lines. RFC 9110, section 8.6.
    #[error("Content-Length is given more than once")]
    LengthRepeated,
    /// Content-Length is not one decimal number below 2^64. RFC 9110, section 8.6.
    #[error("Content-Length is not one decimal number")]
    Length,
    /// Several Transfer-Encoding lines.
    #[error("Transfer-Encoding is given more than once")]
    CodingRepeated,
    /// Transfer-Encoding where the version has none. RFC 9112, section 6.1 and RFC 9113, section 8.2.2.
    #[error("Transfer-Encoding is not defined for this version of HTTP")]
    CodingVersion,
    /// `chunked` is not there, not last, or there twice. RFC 9112, section 6.3.
    #[error("Transfer-Encoding does not end in exactly one chunked")]
    Coding,
    /// Another coding below `chunked`. RFC 9112, section 6.1.
    #[error("Transfer-Encoding has a coding other than chunked")]
    UnsupportedCoding,
    /// A chunk size is empty, not hexadecimal or longer than 16 digits. RFC 9112, section 7.1.
    #[error("a chunk size is not a hexadecimal number of 1 to 16 digits")]
    ChunkSize,
    /// A chunk extension has a character that is not allowed. RFC 9112, section 7.1.1.
    #[error("a chunk extension has a character that is not allowed")]
    ChunkExtension,
    /// The extensions of a chunk, or of all chunks, are longer than their limit.
    #[error("chunk extensions are longer than their limit")]
    ChunkExtensionTooLong,
    /// The data of a chunk is not followed by CRLF. RFC 9112, section 7.1.
    #[error("the data of a chunk is not followed by CRLF")]
    ChunkEnd,
    /// The trailer section is longer than its limit.
    #[error("the trailer section is longer than its limit")]
    TrailerTooLarge,
    /// A trailer that frames or routes a message. RFC 9110, section 6.5.1.
    #[error("a trailer must not be Content-Length, Transfer-Encoding or Host")]
    Trailer,
}

impl Invalid {
    /// The status that answers a request that is refused for this: 400, 414, 431, 501 or 505. A response that is
    /// refused is the upstream's fault whatever the reason, and gives 502.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::TargetTooLong => 414,
            Self::HeadTooLarge | Self::TooManyLines | Self::TrailerTooLarge => 431,
            Self::UnsupportedCoding => 501,
            Self::UnsupportedVersion => 505,
            _ => 400,
        }
    }
}
