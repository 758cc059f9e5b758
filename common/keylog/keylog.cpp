#include "common/keylog/keylog.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string_view>
#include <system_error>

#include "common/base/log.h"

namespace switchback::keylog {
namespace {

/// A line in fixed memory that is wiped: 2 keys of 36 octets as hex and the rest fit easily.
class Line {
 public:
  Line() = default;
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;
  ~Line() { wipe(octets_); }
  Line& operator<<(std::string_view text) {
    for (const char c : text) {
      if (size_ < octets_.size()) octets_[size_++] = static_cast<std::uint8_t>(c);
    }
    return *this;
  }
  Line& hex(ByteView octets) {
    static constexpr std::string_view kDigits = "0123456789abcdef";
    for (const auto octet : octets) *this << kDigits.substr(octet >> 4U, 1) << kDigits.substr(octet & 15U, 1);
    return *this;
  }
  template <class UInt>
  Line& number(UInt value) {
    std::array<std::uint8_t, sizeof(UInt)> octets{};
    store_be(octets.data(), value);
    return hex(octets);
  }
  [[nodiscard]] Secret take() const { return Secret{ByteView{octets_}.first(size_)}; }

 private:
  std::array<std::uint8_t, 1024> octets_{};
  std::size_t size_ = 0;
};

void esp_line(Line& line, bool v6, Spi spi, const crypto::AeadKey& key) {
  if (key.algorithm == crypto::AeadAlgorithm::chacha20_poly1305) {
    // Wireshark 4.0 cannot decrypt it, and one bad entry makes it refuse the whole table.
    line << "# SPI 0x";
    line.number(spi.value) << " uses ChaCha20-Poly1305, which this table has no name for\n";
    return;
  }
  // The addresses stay open: a session moves, and 32 random bits of SPI say enough.
  line << (v6 ? "\"IPv6\"" : "\"IPv4\"") << ",\"*\",\"*\",\"0x";
  line.number(spi.value) << "\",\"AES-GCM with 16 octet ICV [RFC4106]\",\"0x";
  line.hex(key.key_and_salt.view()) << "\",\"NULL\",\"\"\n";
}

Result<UniqueFd, UserError> open_table(const std::string& path) {
  UniqueFd fd{::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600)};
  if (!fd) {
    return fail_user("cannot write the key log " + path + ": " +
                     std::error_code{errno, std::system_category()}.message());
  }
  return fd;
}

void append_line(const UniqueFd& fd, const Secret& line) {
  // One write: with O_APPEND lines of several processes do not mix.
  if (::write(fd.get(), line.view().data(), line.size()) != static_cast<ssize_t>(line.size())) {
    log::warning("keylog_failed", {{"error", std::error_code{errno, std::system_category()}.message()}});
  }
}

}  // namespace

Secret keylog_line(const ike::IkeKeylog& keys) {
  Line line;
  const char* algorithm = nullptr;
  switch (keys.algorithm) {
    case crypto::AeadAlgorithm::aes128_gcm: algorithm = "AES-GCM-128 with 16 octet ICV [RFC5282]"; break;
    case crypto::AeadAlgorithm::aes256_gcm: algorithm = "AES-GCM-256 with 16 octet ICV [RFC5282]"; break;
    case crypto::AeadAlgorithm::chacha20_poly1305: break;
  }
  if (algorithm == nullptr) line << "# ChaCha20-Poly1305, which this table has no name for: ";
  line.number(keys.initiator.value) << ",";
  line.number(keys.responder.value) << ",";
  line.hex(keys.sk_ei.view()) << ",";
  line.hex(keys.sk_er.view()) << ",\"" << (algorithm == nullptr ? "" : algorithm) << "\",,,\"NONE [RFC4306]\"\n";
  return line.take();
}

Secret keylog_lines(const ike::ChildInstalled& child) {
  Line line;
  const bool v6 = child.path.remote.address.is_v6();
  esp_line(line, v6, child.inbound, child.inbound_key);
  esp_line(line, v6, child.outbound, child.outbound_key);
  return line.take();
}

Result<Keylog, UserError> Keylog::open(const std::string& directory) {
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return fail_user("cannot create the key log directory " + directory + ": " +
                     std::error_code{errno, std::system_category()}.message());
  }
  struct stat status {};
  if (::stat(directory.c_str(), &status) != 0 || !S_ISDIR(status.st_mode) || (status.st_mode & 0077U) != 0 ||
      status.st_uid != ::geteuid()) {
    return fail_user("the key log directory " + directory +
                     " must be yours alone, since keys go there: chmod 0700 it, or name a new one");
  }
  SB_TRY(auto ike, open_table(directory + "/ikev2_decryption_table"));
  SB_TRY(auto esp, open_table(directory + "/esp_sa"));
  return Keylog{std::move(ike), std::move(esp)};
}

void Keylog::write(const ike::IkeKeylog& keys) { append_line(ike_, keylog_line(keys)); }

void Keylog::write(const ike::ChildInstalled& child) { append_line(esp_, keylog_lines(child)); }

}  // namespace switchback::keylog
