#include <fourbit/fourbit.hpp>

#include <vector>

// The squared error of quantizing `source`, added up here and not by the library.
double squared_error(const fourbit::context& on, const std::vector<float>& source) {
    std::vector<float> decoded(source.size());
    fourbit::dequantize(on, fourbit::quantize(fourbit::quantizer(on), source), decoded);
    double sum = 0;
    for (std::size_t i = 0; i < source.size(); ++i) {
        const double difference = static_cast<double>(source[i]) - static_cast<double>(decoded[i]);
        sum += difference * difference;
    }
    return sum;
}
