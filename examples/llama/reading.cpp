#include "reading.hpp"

#include "simd.hpp"

#include <algorithm>
#include <chrono>

namespace llama {

namespace {

constexpr std::size_t kPiece = std::size_t{1} << 17;
constexpr std::size_t kPasses = 15;

/// Every bit of the bytes has a part in the result, so none of the reads can be left out.
LLAMA_CLONES std::uint32_t read(const std::byte* from, std::size_t count) {
    u32x16 mixed[4] = {};
    u32x16 v;
    std::size_t at = 0;
    for (; at + sizeof mixed <= count; at += sizeof mixed) {
        for (std::size_t i = 0; i < 4; ++i) {
            std::memcpy(&v, from + at + i * sizeof v, sizeof v);
            mixed[i] ^= v;
        }
    }
    std::uint32_t result = 0;
    const u32x16 all = mixed[0] ^ mixed[1] ^ mixed[2] ^ mixed[3];
    for (std::size_t i = 0; i < kLanes; ++i) {
        result ^= all[i];
    }
    for (; at < count; ++at) {
        result ^= std::to_integer<std::uint32_t>(from[at]);
    }
    return result;
}

std::vector<Bytes> pieces(const std::vector<Bytes>& ranges) {
    std::vector<Bytes> result;
    for (const Bytes& range : ranges) {
        for (std::size_t at = 0; at < range.size; at += kPiece) {
            result.push_back({range.data + at, std::min(kPiece, range.size - at)});
        }
    }
    return result;
}

} // namespace

double seconds_to_read(ThreadPool& pool, const Weights& weights) {
    using Clock = std::chrono::steady_clock;
    const std::vector<Bytes> work = pieces(weights.read_per_token());
    std::atomic<std::uint32_t> sink{0};
    std::vector<double> seconds;
    for (std::size_t pass = 0; pass < kPasses; ++pass) {
        const Clock::time_point start = Clock::now();
        pool(work.size(), [&](std::size_t i) { sink ^= read(work[i].data, work[i].size); });
        seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
    }
    std::sort(seconds.begin(), seconds.end());
    return seconds[seconds.size() / 2];
}

} // namespace llama
