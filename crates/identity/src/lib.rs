//! Certificates, SPIFFE verification, join tokens and rotation of Weft.
