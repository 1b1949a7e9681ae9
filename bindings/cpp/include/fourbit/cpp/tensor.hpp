// Views of tensors: pointer, dtype, shape, strides. They own nothing.
#ifndef FOURBIT_CPP_TENSOR_HPP
#define FOURBIT_CPP_TENSOR_HPP

#include <fourbit/cpp/dtype.hpp>
#include <fourbit/cpp/handle.hpp>

#include <array>
#include <cstdint>
#include <string>
#include <type_traits>
#if __cplusplus >= 202002L
#include <span>
#endif

namespace fourbit {

/// Up to FOURBIT_MAX_RANK sizes, outermost first; also used for strides. `{m, k}` makes one from
/// integers of any type.
class shape {
  public:
    /// One size per argument.
    template <class... Int, class = std::enable_if_t<(std::is_integral_v<Int> && ...)>>
    shape(Int... sizes) noexcept
        : sizes_{{static_cast<std::int64_t>(sizes)...}}, rank_(sizeof...(Int)) {
        static_assert(sizeof...(Int) <= FOURBIT_MAX_RANK, "a tensor has at most 8 dimensions");
    }

    /// `rank` sizes. Throws for more than FOURBIT_MAX_RANK.
    shape(const std::int64_t* sizes, std::size_t rank) : sizes_{}, rank_(rank) {
        if (rank > FOURBIT_MAX_RANK) {
            throw error(FOURBIT_STATUS_INVALID_ARGUMENT,
                        "shape: " + std::to_string(rank) + " dimensions, at most 8 are taken");
        }
        for (std::size_t i = 0; i < rank; ++i) {
            sizes_[i] = sizes[i];
        }
    }

    /// The number of dimensions.
    std::size_t rank() const noexcept { return rank_; }
    /// The size of dimension `i`; not checked.
    std::int64_t operator[](std::size_t i) const noexcept { return sizes_[i]; }
    /// The sizes, rank() of them.
    const std::int64_t* data() const noexcept { return sizes_.data(); }
    /// The first size.
    const std::int64_t* begin() const noexcept { return sizes_.data(); }
    /// Behind the last size.
    const std::int64_t* end() const noexcept { return sizes_.data() + rank_; }

    /// The number of elements; 1 for rank 0.
    std::int64_t numel() const noexcept {
        std::int64_t product = 1;
        for (std::int64_t size : *this) {
            product *= size;
        }
        return product;
    }

    /// Same rank and sizes.
    friend bool operator==(const shape& a, const shape& b) noexcept {
        return a.rank_ == b.rank_ && a.sizes_ == b.sizes_;
    }
    /// Another rank or size.
    friend bool operator!=(const shape& a, const shape& b) noexcept { return !(a == b); }

  private:
    std::array<std::int64_t, FOURBIT_MAX_RANK> sizes_;
    std::size_t rank_;
};

namespace detail {

/// Something with data() and size(), like std::vector, std::array and std::span.
template <class C>
using element_of =
    std::remove_pointer_t<decltype(std::declval<C&>().data() + std::declval<C&>().size())>;

/// Something with DLPack's DLTensor layout; no dlpack.h is needed to say so.
template <class T>
using if_dl_tensor = std::void_t<
    decltype(std::declval<const T&>().device.device_type),
    decltype(std::declval<const T&>().device.device_id),
    decltype(std::declval<const T&>().dtype.code), decltype(std::declval<const T&>().shape),
    decltype(std::declval<const T&>().strides), decltype(std::declval<const T&>().byte_offset)>;

} // namespace detail

/// A view that is only read: an input. Data must stay valid while the view is used; shape and
/// strides are inside. Any alignment is accepted; FOURBIT_ALIGNMENT is the fast case.
class const_view {
  public:
    /// Compact row-major elements of a given dtype.
    const_view(const void* data, fourbit::dtype type, const fourbit::shape& dims) noexcept
        : data_(const_cast<void*>(data)), dtype_(type), shape_(dims) {}

    /// Compact row-major elements whose C++ type tells the dtype.
    template <class T, class = decltype(dtype_of<T>::value)>
    const_view(const T* data, const fourbit::shape& dims) noexcept
        : const_view(data, dtype_of<T>::value, dims) {}

    /// All elements of a vector, array or span, as one dimension.
    template <class C, class T = std::remove_const_t<detail::element_of<const C>>,
              class = decltype(dtype_of<T>::value)>
    const_view(const C& elements) noexcept
        : const_view(elements.data(), fourbit::shape(elements.size())) {}

    /// The elements of a vector, array or span, as a tensor of a shape. Throws if their number is
    /// not the shape's.
    template <class C, class T = std::remove_const_t<detail::element_of<const C>>,
              class = decltype(dtype_of<T>::value)>
    const_view(const C& elements, const fourbit::shape& dims) : const_view(elements.data(), dims) {
        require_count(elements.size());
    }

    /// What a C tensor views. Throws for a rank outside 0 to FOURBIT_MAX_RANK.
    explicit const_view(const fourbit_tensor& tensor)
        : data_(tensor.data), device_(tensor.device), dtype_(tensor.dtype),
          shape_(tensor.shape, checked_rank(tensor.ndim)), byte_offset_(tensor.byte_offset) {
        if (tensor.strides != nullptr) {
            set_strides({tensor.strides, shape_.rank()});
        }
    }

    /// What a DLTensor of dlpack.h views.
    template <class DlTensor, detail::if_dl_tensor<DlTensor>* = nullptr>
    explicit const_view(const DlTensor& tensor)
        : data_(tensor.data), device_{static_cast<std::int32_t>(tensor.device.device_type),
                                      static_cast<std::int32_t>(tensor.device.device_id)},
          dtype_(fourbit_dtype{tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes}),
          shape_(tensor.shape, checked_rank(tensor.ndim)), byte_offset_(tensor.byte_offset) {
        if (tensor.strides != nullptr) {
            set_strides({tensor.strides, shape_.rank()});
        }
    }

    /// The same with distances between elements, counted in elements. Throws unless there is one
    /// per dimension.
    const_view& set_strides(const fourbit::shape& strides) {
        if (strides.rank() != shape_.rank()) {
            throw error(FOURBIT_STATUS_SHAPE_MISMATCH,
                        std::to_string(strides.rank()) + " strides for " +
                            std::to_string(shape_.rank()) + " dimensions");
        }
        strides_ = strides;
        has_strides_ = true;
        return *this;
    }

    /// The same on another device than the CPU.
    const_view& set_device(fourbit_device device) noexcept {
        device_ = device;
        return *this;
    }

    /// The C struct, for one call: it points into this view.
    fourbit_tensor c() const noexcept {
        fourbit_tensor tensor{};
        tensor.data = data_;
        tensor.device = device_;
        tensor.ndim = static_cast<std::int32_t>(shape_.rank());
        tensor.dtype = dtype_;
        tensor.shape = shape_.data();
        tensor.strides = has_strides_ ? strides_.data() : nullptr;
        tensor.byte_offset = byte_offset_;
        return tensor;
    }

    /// The first element.
    const void* data() const noexcept { return static_cast<const char*>(data_) + byte_offset_; }
    /// The element type.
    fourbit::dtype dtype() const noexcept { return dtype_; }
    /// The shape.
    const fourbit::shape& shape() const noexcept { return shape_; }
    /// Where the elements are.
    fourbit_device device() const noexcept { return device_; }
    /// The number of elements; 1 for rank 0.
    std::int64_t numel() const noexcept { return shape_.numel(); }
    /// Whether strides were set; without any, elements are compact and row-major.
    bool has_strides() const noexcept { return has_strides_; }

    /// The elements of a compact view as their C++ type. Throws if the dtype is another one or
    /// there are strides.
    template <class T> const T* data_as() const {
        if (dtype_ != dtype_of<T>::value || has_strides_) {
            throw error(FOURBIT_STATUS_DTYPE_UNSUPPORTED,
                        "the view has another dtype than asked for, or strides");
        }
        return static_cast<const T*>(data());
    }

#if __cplusplus >= 202002L
    /// As data_as(), with the number of elements.
    template <class T> std::span<const T> span() const {
        return {data_as<T>(), static_cast<std::size_t>(numel())};
    }
#endif

  private:
    static std::size_t checked_rank(std::int32_t rank) {
        if (rank < 0 || rank > FOURBIT_MAX_RANK) {
            throw error(FOURBIT_STATUS_INVALID_ARGUMENT,
                        "ndim is " + std::to_string(rank) + ", expected 0 to 8");
        }
        return static_cast<std::size_t>(rank);
    }

    void require_count(std::size_t count) const {
        if (static_cast<std::int64_t>(count) != numel()) {
            throw error(FOURBIT_STATUS_SHAPE_MISMATCH, std::to_string(count) +
                                                           " elements for a shape of " +
                                                           std::to_string(numel()));
        }
    }

    void* data_;
    fourbit_device device_{};
    fourbit::dtype dtype_;
    fourbit::shape shape_;
    fourbit::shape strides_{};
    std::uint64_t byte_offset_ = 0;
    bool has_strides_ = false;
};

/// A view that may be written: an output. Also an input wherever one is taken.
class view : public const_view {
  public:
    /// Compact row-major elements of a given dtype.
    view(void* data, fourbit::dtype type, const fourbit::shape& dims) noexcept
        : const_view(data, type, dims) {}

    /// Compact row-major elements whose C++ type tells the dtype.
    template <class T, class = decltype(dtype_of<T>::value)>
    view(T* data, const fourbit::shape& dims) noexcept : const_view(data, dims) {}

    /// All elements of a vector, array or span, as one dimension.
    template <class C, class T = detail::element_of<C>, class = decltype(dtype_of<T>::value)>
    view(C&& elements) noexcept : const_view(elements) {}

    /// The elements of a vector, array or span, as a tensor of a shape. Throws if their number is
    /// not the shape's.
    template <class C, class T = detail::element_of<C>, class = decltype(dtype_of<T>::value)>
    view(C&& elements, const fourbit::shape& dims) : const_view(elements, dims) {}

    /// What a C tensor views. Throws for a rank outside 0 to FOURBIT_MAX_RANK.
    explicit view(const fourbit_tensor& tensor) : const_view(tensor) {}

    /// What a DLTensor of dlpack.h views.
    template <class DlTensor, detail::if_dl_tensor<DlTensor>* = nullptr>
    explicit view(const DlTensor& tensor) : const_view(tensor) {}

    /// The same with distances between elements, counted in elements. Throws unless there is one
    /// per dimension.
    view& set_strides(const fourbit::shape& strides) {
        const_view::set_strides(strides);
        return *this;
    }

    /// The same on another device than the CPU.
    view& set_device(fourbit_device device) noexcept {
        const_view::set_device(device);
        return *this;
    }
};

} // namespace fourbit

#endif // FOURBIT_CPP_TENSOR_HPP
