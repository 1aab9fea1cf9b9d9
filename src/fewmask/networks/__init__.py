"""Networks: tensors to tensors. They know no loss and no optimiser."""
