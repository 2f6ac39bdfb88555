//! Numbers that frames have (RFC 9113 sections 6 and 7).

pub(super) mod kind {
    pub(in crate::http_validation::frames) const DATA: u8 = 0;
    pub(in crate::http_validation::frames) const HEADERS: u8 = 1;
    pub(in crate::http_validation::frames) const RST_STREAM: u8 = 3;
    pub(in crate::http_validation::frames) const SETTINGS: u8 = 4;
    pub(in crate::http_validation::frames) const PING: u8 = 6;
    pub(in crate::http_validation::frames) const GOAWAY: u8 = 7;
    pub(in crate::http_validation::frames) const WINDOW_UPDATE: u8 = 8;
    pub(in crate::http_validation::frames) const CONTINUATION: u8 = 9;
}

pub(super) mod code {
    pub(in crate::http_validation::frames) const NO_ERROR: u32 = 0;
    pub(in crate::http_validation::frames) const REFUSED_STREAM: u32 = 7;
    pub(in crate::http_validation::frames) const CANCEL: u32 = 8;
}

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;
