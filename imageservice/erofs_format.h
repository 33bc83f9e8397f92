// EROFS on disk, as far as we write and accept it: Linux fs/erofs/erofs_fs.h (5.16 to 6.18), and
// our footer behind the image. All numbers are little endian, as are the machines we know.
#pragma once

#include <bit>
#include <cstdint>

namespace gantry::images {

static_assert(std::endian::native == std::endian::little);

inline constexpr uint64_t kErofsBlock = 4096;
inline constexpr uint64_t kErofsSlot = 32;  // an inode's number is its place in these
inline constexpr uint64_t kErofsSuperAt = 1024;
inline constexpr uint64_t kErofsDeviceAt = 1152;
inline constexpr uint32_t kErofsMagic = 0xe0f5e1e2;
inline constexpr uint32_t kErofsCompat = 0x3;    // SB_CHKSUM, MTIME
inline constexpr uint32_t kErofsIncompat = 0xc;  // CHUNKED_FILE, DEVICE_TABLE
// The root's number has 16 bits: its inode has block 1 for itself.
inline constexpr uint64_t kErofsRootAt = kErofsBlock;
inline constexpr uint64_t kErofsRoot = kErofsRootAt / kErofsSlot;
// The most of meta that we write and verify; keeps the numbers of inodes in 32 bits.
inline constexpr uint64_t kErofsMaxMeta = 4ull << 30;
inline constexpr uint64_t kErofsMaxData = (1ull << 32) * kErofsBlock;  // 32 bits of blocks
inline constexpr uint64_t kErofsMaxFile = 8ull << 40;  // one chunk: 31 bits of blocks

struct ErofsSuperBlock {
  uint32_t magic;
  uint32_t checksum;  // crc32c without the last inversion, of the rest of block 0, this field 0
  uint32_t feature_compat;
  uint8_t block_bits;
  uint8_t extension_slots;
  uint16_t root_nid;
  uint64_t inodes;
  uint64_t build_time;
  uint32_t build_nanoseconds;
  uint32_t blocks;
  uint32_t meta_block;
  uint32_t xattr_block;
  uint8_t uuid[16];
  uint8_t volume_name[16];
  uint32_t feature_incompat;
  uint16_t compression;
  uint16_t extra_devices;
  uint16_t device_slot;  // in 128 bytes
  uint8_t directory_block_bits;
  uint8_t xattr_prefixes;
  uint32_t xattr_prefix_start;
  uint64_t packed_nid;
  uint8_t reserved[24];
};
static_assert(sizeof(ErofsSuperBlock) == 128);

struct ErofsDevice {
  uint8_t tag[64];
  uint32_t blocks;
  uint32_t mapped_block;
  uint8_t reserved[56];
};
static_assert(sizeof(ErofsDevice) == 128);

// i_format: bit 0 is set for the 64-byte inode, the layout stands above it.
enum class ErofsLayout : uint16_t { kPlain = 0, kInline = 2, kChunks = 4 };
constexpr uint16_t ErofsFormat(ErofsLayout layout) {
  return static_cast<uint16_t>(static_cast<unsigned>(layout) << 1 | 1);
}

inline constexpr uint32_t kErofsChunkIndexes = 0x20;  // with the chunk's bits below
inline constexpr uint32_t kErofsMaxChunkBits = 0x1f;

struct ErofsInodeHead {
  uint16_t format;
  uint16_t xattr_count;  // (bytes - 12) / 4 + 1, 0 for none
  uint16_t mode;
  uint16_t reserved;
  uint64_t size;
  uint32_t place;  // first block, device number, or the format of chunks
  uint32_t ino;
  uint32_t uid;
  uint32_t gid;
  uint64_t seconds;
  uint32_t nanoseconds;
  uint32_t nlink;
  uint8_t reserved2[16];
};
static_assert(sizeof(ErofsInodeHead) == 64);
inline constexpr uint64_t kErofsNlinkAt = 44;

struct ErofsXattrHeader {
  uint32_t name_filter;
  uint8_t shared;
  uint8_t reserved[7];
};
static_assert(sizeof(ErofsXattrHeader) == 12);

struct ErofsXattrEntry {
  uint8_t name_length;
  uint8_t prefix;
  uint16_t value_length;
};
static_assert(sizeof(ErofsXattrEntry) == 4);

struct ErofsXattrPrefix {
  uint8_t number;
  const char* text;
};
inline constexpr ErofsXattrPrefix kErofsXattrPrefixes[] = {
    {1, "user."}, {4, "trusted."}, {6, "security."}};

struct ErofsChunk {
  uint16_t advise;
  uint16_t device;
  uint32_t block;
};
static_assert(sizeof(ErofsChunk) == 8);

struct __attribute__((packed)) ErofsDirent {
  uint64_t nid;
  uint16_t name_at;  // in the block
  uint8_t type;
  uint8_t reserved;
};
static_assert(sizeof(ErofsDirent) == 12);

// As the kernel's FT_*.
enum class ErofsType : uint8_t {
  kNone = 0,
  kFile = 1,
  kDirectory = 2,
  kCharDevice = 3,
  kBlockDevice = 4,
  kFifo = 5,
  kSymlink = 7,
};

// Ours, right behind the image's blocks, where the kernel does not look. `sums` entries of
// ErofsDataSum follow, then the crc32c of all of it.
struct ErofsFooter {
  uint8_t magic[8];
  uint32_t version;
  uint32_t sums;
  uint64_t data_bytes;
  uint64_t meta_bytes;  // of the image, without the footer
  uint64_t inodes;
  uint32_t meta_sum;  // crc32c over the blocks' crc32c
  uint32_t reserved;
};
static_assert(sizeof(ErofsFooter) == 48);
inline constexpr char kErofsFooterMagic[9] = "GNTRlayr";
inline constexpr uint32_t kErofsFooterVersion = 1;

// A MiB of data in which something was written, with zeros up to the MiB's end where data ends
// before; all others are holes.
struct ErofsDataSum {
  uint32_t mib;
  uint32_t sum;
};
inline constexpr uint64_t kErofsSumBytes = 1 << 20;

}  // namespace gantry::images
