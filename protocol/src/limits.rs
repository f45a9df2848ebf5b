//! Every bound of the wire, each with its unit and the reason for its size.

/// Bytes of the fixed frame header.
pub const FRAME_HEADER_BYTES: usize = 48;
/// Largest frame, and so largest packet, in bytes. The kernel's default send buffer takes 212 960.
pub const FRAME_BYTES_MAX: usize = 196_608;
/// Largest frame held in memory: a whole line of an application. On a link the body of one that no
/// packet holds travels in a sealed memfd.
pub const FRAME_HELD_BYTES_MAX: usize = LINE_BYTES_MAX.saturating_add(8_192);
/// Bytes up to which frames are collected into one packet; a larger frame travels alone.
pub const PACKET_BYTES_TARGET: usize = 65_536;
/// Bytes of a read buffer: one packet, and room to notice that one is too long.
pub const READ_BUFFER_BYTES: usize = 262_144;
/// Bytes of the text of a message id.
pub const ID_BYTES_MAX: usize = 128;
/// Bytes of an address.
pub const ADDRESS_BYTES_MAX: usize = 1_024;
/// Bytes of the extensions of one frame.
pub const EXT_BYTES_MAX: usize = 4_096;
/// Bytes of a body, inline or in a sealed memfd.
pub const BODY_BYTES_MAX: usize = 16 * 1_048_576;
/// Descriptors that one packet may carry.
pub const PACKET_FDS_MAX: usize = 4;
/// Hops a message may take through runtimes before it is discarded as a loop (508).
pub const HOPS_START: u8 = 16;
/// Frames a peer may send ahead of acknowledgement, per direction.
pub const WINDOW_FRAMES: u32 = 1_024;
/// Bytes a peer may send ahead of acknowledgement, per direction.
pub const WINDOW_BYTES: u32 = 4 * 1_048_576;
/// Frames listed as kept in one acknowledgement.
pub const ACK_KEPT_MAX: usize = 256;
/// Milliseconds after which an owed acknowledgement is sent by itself.
pub const ACK_DELAY_MS: u64 = 5;
/// Bytes of one control message between daemon and worker.
pub const CTL_BYTES_MAX: usize = 160 * 1_024;
/// Bytes of memory that the lengths in one control message may claim while it is decoded.
pub const CTL_CLAIM_BYTES_MAX: usize = 1_048_576;
/// Bytes of memory that the lengths in one request or reply of the control API may claim.
pub const CONTROL_CLAIM_BYTES_MAX: usize = 64 * 1_048_576;
/// Bytes of the configuration in a descriptor: it crosses in one control message.
pub const CONFIGURATION_BYTES_MAX: usize = 65_536;
/// Bytes of one request or reply of the control API.
pub const CONTROL_BYTES_MAX: usize = 4 * 1_048_576;
/// Bytes of a packet between daemon and spawner.
pub const SPAWN_BYTES_MAX: usize = 4_096;
/// Bytes of a catalogue descriptor.
pub const DESCRIPTOR_BYTES_MAX: usize = 256 * 1_024;
/// Bytes of a name, a version or a constraint in a descriptor.
pub const DESCRIPTOR_WORD_BYTES_MAX: usize = 256;
/// Constraints of one descriptor.
pub const CONSTRAINTS_MAX: usize = 64;
/// Entries of a list in a descriptor that says what a hyperty offers; what is beyond is not kept.
pub const LISTED_MAX: usize = 32;
/// Hosts that one descriptor may ask for; what is beyond is not even listed as refused.
pub const WANTED_HOSTS_MAX: usize = 64;
/// Bytes of a host name.
pub const HOST_BYTES_MAX: usize = 253;
/// Bytes of decoded stub code.
pub const CODE_BYTES_MAX: usize = 4 * 1_048_576;
/// Depth of nested JSON that is accepted at an edge.
pub const JSON_DEPTH_MAX: usize = 64;
/// Bytes of one line of the application socket.
pub const LINE_BYTES_MAX: usize = 1_048_576;
/// Addresses in the `to` of one application message.
pub const FAN_OUT_MAX: usize = 64;
/// Bytes of one line of a stub's console.
pub const LOG_LINE_BYTES_MAX: usize = 1_024;
/// Milliseconds a requester waits when it does not say.
pub const DEADLINE_DEFAULT_MS: u64 = 15_000;
/// Milliseconds a requester may wait at most.
pub const DEADLINE_MAX_MS: u64 = 300_000;
/// Hosts granted from a descriptor.
pub const GRANTS_MAX: usize = 8;
/// Redirects that a catalogue may answer with.
pub const REDIRECTS_MAX: usize = 5;
/// Connections of other runtimes that came in and have not ended.
pub const GUESTS_MAX: usize = 64;
