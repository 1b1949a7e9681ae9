// Plans: what happens to every tensor of a checkpoint, and why.
#ifndef FOURBIT_CPP_PLAN_HPP
#define FOURBIT_CPP_PLAN_HPP

#include <fourbit/cpp/checkpoint.hpp>

namespace fourbit {

/// How to plan. The defaults: what loads everywhere, everything automatic.
struct plan_options {
    /// Whose rules decide.
    fourbit_plan_profile profile = FOURBIT_PLAN_PROFILE_PORTABLE;
    /// The type float tensors are cast to first; `dtype()`: what config.json says.
    fourbit::dtype dtype{};
    /// What becomes of the experts of a mixture.
    fourbit_plan_experts experts = FOURBIT_PLAN_EXPERTS_AUTO;
    /// Modules to keep; without a value, the quantizer's skip_modules.
    std::optional<std::vector<std::string>> skip_modules{};
    /// Where everything goes, if it is to be decided: "auto", "balanced_low_0", "sequential",
    /// "fit", a device ("0", "cpu"), or a map as JSON.
    std::optional<std::string> device_map{};
    /// Memory of each device, such as "0=20GiB,cpu=64GiB"; without a value, what is free here.
    std::optional<std::string> max_memory{};
    /// Whether modules may go to the CPU or the disk.
    bool offload = false;
};

/// One tensor's fate.
struct plan_entry {
    /// Borrowed from the plan.
    std::string_view name;
    /// Why, in words; borrowed from the plan.
    std::string_view reason;
    /// What happens to it.
    fourbit_plan_action action;
    /// The stored element type.
    fourbit::dtype source_dtype;
    /// The element type to store, or from which the weight is quantized.
    fourbit::dtype dtype;
    /// The stored shape.
    fourbit::shape shape;
    /// Bytes in the source.
    std::uint64_t bytes_before;
    /// Statistics included.
    std::uint64_t bytes_after;
    /// The number of a GPU, "mps", "cpu" or "disk"; without a value if there is no device map.
    std::optional<std::string_view> device;

    /// Whether it becomes 4-bit.
    bool is_converted() const noexcept { return action != FOURBIT_PLAN_ACTION_KEEP; }
};

/// What happens to every tensor of a checkpoint. Any number of threads may use one at once.
class plan : public detail::handle<fourbit_plan, fourbit_plan_destroy> {
  public:
    /// Decides. The checkpoint needs a config.json.
    plan(const quantizer& with, const checkpoint& source, const plan_options& options = {})
        : handle(create(with, source, options)) {}

    /// Takes a C handle over.
    explicit plan(fourbit_plan* owned) noexcept : handle(owned) {}

    /// Reads what to_json() wrote, perhaps edited in between.
    static plan from_json(std::string_view json) {
        return plan(detail::make<fourbit_plan>(fourbit_plan_from_json, json.data(), json.size()));
    }

    /// The plan as JSON text, for from_json().
    std::string to_json() const {
        return detail::text([this](char* buffer, std::size_t capacity, std::size_t* length) {
            return fourbit_plan_to_json(c(), buffer, capacity, length);
        });
    }

    /// The number of tensors.
    std::size_t size() const {
        std::size_t out = 0;
        check(fourbit_plan_len(c(), &out));
        return out;
    }

    /// Describes tensor `index`.
    plan_entry entry(std::size_t index) const {
        auto out = sized<fourbit_plan_entry>();
        check(fourbit_plan_get(c(), index, &out));
        return plan_entry{out.name,
                          out.reason,
                          static_cast<fourbit_plan_action>(out.action),
                          out.source_dtype,
                          out.dtype,
                          fourbit::shape(out.shape, static_cast<std::size_t>(out.ndim)),
                          out.bytes_before,
                          out.bytes_after,
                          out.device ? std::optional<std::string_view>(out.device) : std::nullopt};
    }

    /// The index of the tensor of that name, if there is one.
    std::optional<std::size_t> find(const std::string& name) const {
        return detail::found(
            [&](std::size_t* index) { return fourbit_plan_find(c(), name.c_str(), index); });
    }

    /// The sums over all tensors.
    fourbit_plan_totals totals() const {
        auto out = sized<fourbit_plan_totals>();
        check(fourbit_plan_summary(c(), &out));
        return out;
    }

  private:
    static fourbit_plan* create(const quantizer& with, const checkpoint& source,
                                const plan_options& options) {
        auto config = sized<fourbit_plan_config>();
        config.profile = options.profile;
        config.dtype = options.dtype;
        config.experts = options.experts;
        const detail::c_strings names(options.skip_modules);
        config.skip_modules = names.data();
        config.skip_module_count = names.size();
        config.device_map = options.device_map ? options.device_map->c_str() : nullptr;
        config.max_memory = options.max_memory ? options.max_memory->c_str() : nullptr;
        config.offload = options.offload ? 1 : 0;
        return detail::make<fourbit_plan>(fourbit_plan_create, with.c(), source.c(), &config);
    }
};

} // namespace fourbit

#endif // FOURBIT_CPP_PLAN_HPP
