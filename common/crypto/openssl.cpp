#include "common/crypto/openssl.h"

#include <openssl/err.h>

#include <limits>
#include <string>

namespace switchback::crypto {

BioPtr memory_reader(ByteView text) {
  if (text.size() > static_cast<std::size_t>(std::numeric_limits<int>::max())) return nullptr;
  return BioPtr{BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))};
}

ByteView written(BIO* bio) {
  char* data = nullptr;
  const auto size = BIO_get_mem_data(bio, &data);
  if (size <= 0) return {};
  return {reinterpret_cast<const std::uint8_t*>(data), static_cast<std::size_t>(size)};
}

BioPtr secret_writer() { return BioPtr{BIO_new(BIO_s_secmem())}; }

X509NamePtr parse_name(ByteView der) {
  const ErrorQueueGuard guard;
  if (der.empty() || der.size() > 65535) return nullptr;
  const auto* at = der.data();
  X509NamePtr name{d2i_X509_NAME(nullptr, &at, static_cast<long>(der.size()))};
  if (name == nullptr || at != der.data() + der.size()) return nullptr;
  return name;
}

std::string name_text(const X509_NAME* name) {
  const BioPtr bio{BIO_new(BIO_s_mem())};
  if (bio == nullptr) return {};
  // RFC 2253 escapes control characters and what is not ASCII; the order of the DER is kept.
  constexpr unsigned long kFlags = ASN1_STRFLGS_ESC_2253 | ASN1_STRFLGS_ESC_CTRL | ASN1_STRFLGS_ESC_MSB |
                                   ASN1_STRFLGS_UTF8_CONVERT | ASN1_STRFLGS_DUMP_UNKNOWN | ASN1_STRFLGS_DUMP_DER |
                                   XN_FLAG_SEP_CPLUS_SPC | XN_FLAG_FN_SN;
  if (X509_NAME_print_ex(bio.get(), name, 0, kFlags) < 0) return {};
  return std::string{as_text(written(bio.get()))};
}

ErrorQueueGuard::~ErrorQueueGuard() { ERR_clear_error(); }

}  // namespace switchback::crypto
